//! The words of each family of refusals. A clause belongs to the first rule of which it has a subject and a verdict,
//! so the more specific rules come first. The lists are packed by hand: one word a line would be ten pages.

/// What a clause is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalFamily {
    Quota,
    WrongChain,
    Batch,
    Rate,
    BeyondHead,
    UnknownBlock,
    Pruned,
    MethodOff,
    Addresses,
    Time,
    Size,
    Range,
    Denied,
}

impl RefusalFamily {
    /// Whether the request was too large: in blocks, addresses, calls, size or against a quota.
    pub(super) fn is_limit(self) -> bool {
        matches!(self, Self::Quota | Self::Batch | Self::Addresses | Self::Size | Self::Range)
    }
}

pub(super) struct PhraseRule {
    pub family: RefusalFamily,
    /// One of these words occurs.
    pub subject: &'static [&'static str],
    /// The name of a method also counts as subject.
    pub or_method: bool,
    /// One of these words occurs as well, unless the list is empty.
    pub verdict: &'static [&'static str],
    /// None of these words occurs.
    pub unless: &'static [&'static str],
}

const fn rule(
    family: RefusalFamily,
    subject: &'static [&'static str],
    verdict: &'static [&'static str],
) -> PhraseRule {
    PhraseRule { family, subject, or_method: false, verdict, unless: &[] }
}

/// Words of a bound.
#[rustfmt::skip]
const BOUND: &[&str] = &[
    "limit", "max", "exceed", "too ", "more than", "greater", "bigger", "larger", "over ", "up to",
    "at most", "less than", "smaller", "fewer", "allowed", "allow", "permitted", "> ", "cap ", "capped",
    "not supported", "unsupported", "wide", "large", "threshold", "within", "only ", "beyond",
    "out of bounds", "must be", "should be", "must not", "restricted",
];

/// Words of a rate.
#[rustfmt::skip]
const PER_TIME: &[&str] = &[
    "per second", "/second", "/sec", "/s ", "per sec", "a second", " rps", "rps ", "per minute", "/minute",
    "/min", "per hour", "/hour", " cups", "cu/s", "tps",
];

/// Words for a method that the operator of the node has not switched on.
#[rustfmt::skip]
const OFF: &[&str] = &[
    "not found", "not support", "unsupported", "not available", "unavailable", "not allowed", "disallowed",
    "disabled", "does not exist", "doesn't exist", "not enabled", "not whitelisted", "not permitted",
    "not implemented", "restricted", "forbidden", "blocked", "unknown", "invalid", "deprecated",
    "no longer", "turned off", "switched off", "is off", "unrecognized", "not exist", "requires",
];

/// Words that never occur in a clause about a method that is off.
#[rustfmt::skip]
const OF_SIZE: &[&str] = &["range", "blocks", "result", "address", "topic", "param", "argument"];

#[rustfmt::skip]
pub(super) const RULES: &[PhraseRule] = &[
    rule(
        RefusalFamily::Quota,
        &[
            "payment required", "monthly", "daily ", "per day", "/day", "per month", "/month", "this month",
            "24 hours", "24h", "out of credit", "out of cu", "billing", "free trial", "subscription",
            "insufficient credit", "not enough credit", "no credits", "insufficient balance",
            "remaining credit", "credits exhausted", "usage limit", "usage cap",
        ],
        &[],
    ),
    rule(
        RefusalFamily::WrongChain,
        &[
            "another chain", "wrong chain", "wrong network", "another network", "different chain",
            "different network", "chain id mismatch", "chainid mismatch", "network mismatch",
            "chain mismatch",
        ],
        &[],
    ),
    rule(RefusalFamily::Size, &["memory"], BOUND),
    PhraseRule { unless: PER_TIME, ..rule(RefusalFamily::Batch, &["batch"], BOUND) },
    rule(RefusalFamily::Batch, &["batch"], OFF),
    rule(RefusalFamily::Rate, PER_TIME, &[]),
    rule(
        RefusalFamily::Rate,
        &[
            "rate limit", "rate-limit", "ratelimit", "rate_limit", "request rate", "call rate",
            "rate exceeded", "too many request", "too many call", "too many concurrent",
            "too many connection", "concurren", "throttl", "request limit", "requests limit", "call limit",
            "slow down", "back off", "backoff", "compute units", "throughput", "request count",
            "number of requests", "capacity exceeded", "exceeded capacity", "over capacity", "flood",
            "too frequent", "too fast", "requests too", "wait before", "requests quota",
        ],
        &[],
    ),
    rule(RefusalFamily::Rate, &["requests", "calls"], &["limit", "exceed", "too many", "quota"]),
    rule(
        RefusalFamily::BeyondHead,
        &[
            "beyond current head", "beyond head", "beyond the head", "beyond latest", "beyond the latest",
            "last accepted", "outofrange", "block is out of range", "block out of range", "future block",
            "in the future", "not yet", "unfinalized", "than latest", "than the latest",
            "than current head", "than the current", "than head", "than the head", "than chain head",
            "than the chain head", "above latest", "above the latest", "above the head", "ahead of",
            "exceeds latest", "exceeds the latest", "exceeds head", "exceeds the head",
            "exceeds current block", "exceeds the current block", "past the head", "not synced",
            "not been synced", "still syncing", "is syncing", "after the latest", "after latest",
        ],
        &[],
    ),
    PhraseRule { or_method: true, unless: OF_SIZE, ..rule(RefusalFamily::MethodOff, &["method", "namespace"], OFF) },
    rule(
        RefusalFamily::Pruned,
        &[
            "pruned", "pruning", "missing trie node", "history unavailable", "history is not",
            "history not", "historical state", "historical data", "history has been", "too old", "ancient",
            "not retained", "earliest available", "first available", "oldest available",
            "before the earliest",
        ],
        &[],
    ),
    PhraseRule {
        unless: &["range", "wide"],
        ..rule(
            RefusalFamily::Pruned,
            &["archive", "archival", "state", "older block", "blocks older", "history", "old block"],
            &[
                "require", "need", "not available", "unavailable", "upgrade", "plan", "token", "missing",
                "only", "not found", "older than", "not supported", "access", "not have", "no longer",
            ],
        )
    },
    rule(
        RefusalFamily::UnknownBlock,
        &[
            "unknown block", "not currently canonical", "non-canonical", "not canonical", "noncanonical",
            "header not found", "block not found", "orphan", "resource not found",
        ],
        &[],
    ),
    PhraseRule {
        unless: &["range", "limit", "max"],
        ..rule(
            RefusalFamily::UnknownBlock,
            &["block", "header", "hash"],
            &[
                "not found", "unknown", "does not exist", "doesn't exist", "not exist",
                "could not be found", "cannot find", "can't find", "could not find", "couldn't find",
                "no such", "not known", "not available", "unavailable", "failed to get", "failed to find",
                "unable to find", "missing",
            ],
        )
    },
    PhraseRule {
        unless: &["result", "response", "range", "logs", "blocks"],
        ..rule(RefusalFamily::Addresses, &["address", "topic", "filters", "filter param", "filter criteria"], BOUND)
    },
    rule(
        RefusalFamily::Addresses,
        &[
            "many address", "many topic", "max address", "max topic", "addresses exceed", "less number of address",
            "less number of topic", "lower number of address", "smaller number of address", "less address",
            "reduce number of address", "reduce the number of address", "reduce addresses",
        ],
        &[],
    ),
    rule(
        RefusalFamily::Time,
        &[
            "timeout", "timed out", "time out", "timed-out", "deadline", "took too long", "taking too long",
            "too slow", "execution time", "time limit", "duration", "context cancel", "query cancel",
            "request cancel", "statement cancel", "execution aborted", "query aborted", "too long to",
        ],
        &[],
    ),
    rule(
        RefusalFamily::Size,
        &[
            "result", "response", "bytes", "logs matched", "many logs", "more logs", "number of logs",
            "log count", "logs count", "logs limit", "logs returned", "many events", "number of events",
            "many entries", "many records", "many rows", "many matches", "payload", "read limit",
            "much data", "log entries", "log limit",
        ],
        BOUND,
    ),
    rule(
        RefusalFamily::Range,
        &[
            "range", "blocks", "span", "distance", "interval", "fromblock", "toblock", "block count",
            "number of block", "block difference", "block gap", "block window",
        ],
        BOUND,
    ),
    rule(RefusalFamily::Size, &["much data", "many results", "many logs", "too many result"], &[]),
    rule(RefusalFamily::Size, &["logs", "events", "entries", "records", "rows", "body", "data size"], BOUND),
    rule(
        RefusalFamily::Size,
        &["query", "request", "entity"],
        &[
            "too large", "too big", "too wide", "too broad", "too expensive", "too complex", "too heavy",
            "smaller than", "too many", "reduce",
        ],
    ),
];

/// Rules for a text that no other rule fits: these words also appear beside other limits.
#[rustfmt::skip]
pub(super) const FALLBACK_RULES: &[PhraseRule] = &[
    rule(RefusalFamily::Quota, &["quota", "credits", "allowance"], &[]),
    rule(
        RefusalFamily::Denied,
        &[
            "unauthorized", "unauthorised", "forbidden", "api key", "apikey", "api-key", "project id",
            "authenticat", "access denied", "permission", "not authorized", "access token",
            "personal token", "invalid token", "not enabled for this app", "whitelist", "allowlist",
            "invalid key",
        ],
        &[],
    ),
];
