use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{ChainReport, ProviderReport, RpcReport, SourceReport};
use crate::app::{Status, StoredLease, StoredSource};
use crate::cli::table::table;

/// What a running daemon reports of each chain; empty without one. Whatever else is true of a chain as a whole is a column
/// here.
pub(super) fn chains(status: &Status) -> String {
    let chains = status.daemon.iter().flat_map(|report| &report.chains);
    let rows: Vec<Vec<String>> = chains.map(|(name, chain)| chain_row(name, chain)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let headings = ["chain", "state", "led by", "head", "confirmed", "final", "new head", "heads by", "node"];
    table(&headings, &rows) + "\n"
}

fn chain_row(name: &str, chain: &ChainReport) -> Vec<String> {
    let moved = Duration::try_from_secs_f64(chain.seconds_since_head).unwrap_or_default();
    vec![
        name.to_owned(),
        chain.state.clone(),
        chain.led_by.clone().unwrap_or_else(|| "-".to_owned()),
        number(chain.head),
        number(chain.confirmed),
        chain.final_block.to_string(),
        format!("{} ago", rough(moved)),
        if chain.websocket { "websocket" } else { "polling" }.to_owned(),
        chain.provider.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// Who leads what the daemon that answers does not lead: other instances. Without a daemon that answers, chains too.
/// A daemon that is alone has no such line, whether it runs or not.
pub(super) fn leases(status: &Status) -> String {
    let leads = |lease: &str| {
        let leases = status.daemon.as_ref().map(|report| &report.leases);
        leases.and_then(|leases| leases.get(lease)).is_some_and(|lease| lease.role == "leader")
    };
    let is_reported = |lease: &str| status.daemon.is_some() && lease.starts_with("chain ") || leads(lease);
    let line = |lease: &StoredLease| {
        let holder = lease.holder.as_ref().filter(|_| lease.is_held)?;
        Some(format!("lease {}: {holder}, epoch {}\n", lease.lease, lease.epoch))
    };
    status.leases.iter().filter(|lease| !is_reported(&lease.lease)).filter_map(line).collect()
}

/// The state of each provider, and what it was asked.
pub(super) fn providers(status: &Status) -> String {
    let chains = status.daemon.iter().flat_map(|report| &report.chains);
    let all: Vec<(&String, &ProviderReport)> = chains
        .flat_map(|(name, chain)| chain.providers.iter().map(move |provider| (name, provider)))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    let headings = ["chain", "provider", "role", "in use for", "health", "head", "behind", "answers in"];
    let rows: Vec<Vec<String>> = all.iter().map(|(chain, provider)| provider_row(chain, provider)).collect();
    let calls: Vec<Vec<String>> = all.iter().flat_map(|(chain, provider)| calls(chain, provider)).collect();
    let headings_of_calls = ["chain", "provider", "method", "requests", "failed", "compute units"];
    format!("\n{}\n{}", table(&headings, &rows), table(&headings_of_calls, &calls))
}

fn provider_row(chain: &str, provider: &ProviderReport) -> Vec<String> {
    let ProviderReport { name, role, live, history, state, head, behind, .. } = provider;
    let work = match (live, history) {
        (true, true) => "all",
        (true, false) => "new blocks",
        (false, true) => "history",
        (false, false) => "-",
    };
    let latency = provider.latency_seconds.map(|seconds| format!("{:.0} ms", seconds * 1000.0));
    vec![
        chain.to_owned(),
        name.clone(),
        role.clone(),
        work.to_owned(),
        state.replace('_', " "),
        number(*head),
        behind.to_string(),
        latency.unwrap_or_else(|| "-".to_owned()),
    ]
}

fn calls<'a>(chain: &'a str, provider: &'a ProviderReport) -> impl Iterator<Item = Vec<String>> + 'a {
    provider.rpc.iter().map(move |(method, calls)| {
        let RpcReport { requests, failed, compute_units } = calls;
        let counts = [requests, failed, compute_units].map(u64::to_string);
        [chain, &provider.name, method].into_iter().map(str::to_owned).chain(counts).collect()
    })
}

/// What is stored, and how fast it grows where a daemon runs.
pub(super) fn sources(status: &Status) -> String {
    let headings = [
        "chain",
        "source",
        "family",
        "tip",
        "lag",
        "blocks/s",
        "events/s",
        "ETA",
        "events",
        "dead",
        "last commit",
    ];
    let rows: Vec<Vec<String>> = status.sources.iter().map(|source| source_row(status, source)).collect();
    table(&headings, &rows)
}

fn source_row(status: &Status, source: &StoredSource) -> Vec<String> {
    let chain = status.daemon.as_ref().and_then(|report| report.chains.get(&source.chain));
    let live: Option<&SourceReport> = chain.and_then(|chain| chain.sources.get(&source.source));
    let eta = live.and_then(|live| Duration::try_from_secs_f64(live.eta_seconds?).ok());
    vec![
        source.chain.clone(),
        source.source.clone(),
        source.family.clone(),
        number(source.tip),
        number(live.map(|live| live.lag)),
        rate(live.and_then(|live| live.blocks_per_second)),
        rate(live.and_then(|live| live.events_per_second)),
        eta.map_or_else(|| "-".to_owned(), rough),
        source.events.to_string(),
        source.open_dead_letters.to_string(),
        ago(source.updated_at),
    ]
}

/// Where sources begin that begin with the latest block.
pub(super) fn latest_starts(status: &Status) -> String {
    let line = |source: &StoredSource| {
        let StoredSource { chain, source: name, start_block, .. } = source;
        // Until it is decided the daemon reports why it waits.
        let block = start_block.filter(|_| source.starts_at_latest)?;
        Some(format!("chain {chain}: source {name} begins at block {block} (start_block = \"latest\")\n"))
    };
    status.sources.iter().filter_map(line).collect()
}

/// What differs between the configuration and what is stored, each once: what the daemon reports of it is above, or is
/// nearer to the moment.
pub(super) fn differences(status: &Status) -> String {
    let mut text = String::new();
    for difference in &status.differences {
        let chain = status.daemon.as_ref().and_then(|report| report.chains.get(&difference.chain));
        let live = chain.and_then(|chain| chain.sources.get(&difference.source));
        if chain.is_some_and(|chain| chain.not_ready.contains(&difference.text)) {
            continue;
        }
        let unread = live.and_then(|live| live.unread.as_ref()).filter(|_| difference.unread);
        let line =
            unread.map_or_else(|| difference.text.clone(), |unread| unread.in_words(&difference.source));
        if !chain.is_some_and(|chain| chain.not_ready.contains(&line)) {
            text += &format!("chain {}: {line}\n", difference.chain);
        }
    }
    text
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 99.95 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// How long ago, in the two largest units.
pub(super) fn ago(seconds: Option<u64>) -> String {
    let Some(at) = seconds else { return "never".to_owned() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{} ago", rough(Duration::from_secs(now.saturating_sub(at))))
}

/// In whole seconds and the two largest units.
fn rough(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_rough_as_a_person_reads_them() {
        assert_eq!(
            [None, Some(0.04), Some(12.34), Some(99.96), Some(4321.9)].map(rate),
            ["-", "0.0", "12.3", "100", "4322"]
        );
        let times = [Duration::from_millis(900), Duration::from_secs(61), Duration::from_secs(90_061)];
        assert_eq!(times.map(rough), ["0s", "1m 1s", "1day 1h"]);
        assert_eq!(ago(None), "never");
    }
}
