//! What is true of a configuration that was read, and of the problems of one that was not.

use std::collections::BTreeSet;
use std::time::Duration;

use chainflume::config::{Chain, Config, Confirmations, Problem, Problems, Source};
use chainflume_core::domain::AddressSet;
use chainflume_core::mapping::Family;

use super::CANARY;

/// Each problem has a reason, a remedy and its place, and no secret is printed.
pub fn refused(problems: &Problems, text: &str) {
    let printed = problems.to_string();
    assert!(!printed.contains(CANARY), "a secret is printed: {printed}\n{text}");
    assert!(!problems.list().is_empty(), "refused for no reason: {text}");
    assert!(printed.contains("folder/chainflume.toml"), "{printed}");
    let lines = 1 + text.matches('\n').count();
    for problem in problems.list() {
        let Problem { line, key, problem: what, remedy, .. } = problem;
        assert!(!what.trim().is_empty() && !remedy.trim().is_empty(), "{problem:?}");
        assert!(line.is_some() || !key.is_empty(), "nowhere: {problem:?}");
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "of {lines} lines: {problem:?}");
    }
    // A line each, below the one that counts them.
    assert!(printed.lines().count() > problems.list().len(), "{printed}");
}

/// It holds together.
pub fn accepted(config: &Config) {
    let shown = format!("{config:?}");
    assert!(!config.chains.is_empty() && !config.sources.is_empty(), "{shown}");
    differ(config.chains.iter().map(|chain| chain.name.as_str()));
    differ(config.chains.iter().map(|chain| chain.chain_id));
    differ(config.sources.iter().map(|source| source.name.as_str()));
    differ(config.webhooks.iter().map(|webhook| webhook.endpoint.name.as_str()));
    for chain in &config.chains {
        assert!(config.sources_of(&chain.name).next().is_some(), "no source reads {chain:?}");
        follows(chain);
    }
    for source in &config.sources {
        assert!(config.chains.iter().any(|chain| chain.name == source.chain), "{source:?}");
        means(source);
    }
    for webhook in &config.webhooks {
        assert!(
            named(&webhook.endpoint.name) && (1..=4).contains(&webhook.endpoint.keys.len()),
            "{webhook:?}"
        );
        let (delivery, timeout) = (&webhook.delivery, webhook.endpoint.timeout);
        let attempts = delivery.schedule.attempts;
        assert!(delivery.in_flight > 0 && attempts > 0 && !timeout.is_zero(), "{webhook:?}");
    }
    let (database, shutdown) = (&config.database.pool, &config.shutdown);
    assert!(database.max_connections >= 2 && !database.acquire_timeout.is_zero(), "{database:?}");
    assert!(shutdown.deadline >= Duration::from_secs(1) && config.admin.limits.max_lag > 0, "{shown}");
}

/// Also a look at all of it shows no key and no password.
pub fn quiet(config: &Config) {
    let mut shown = format!("{config:?}");
    // A changed text may make a key a part of the host, and hosts are shown.
    for provider in config.chains.iter().flat_map(|chain| &chain.node.providers) {
        shown = shown.replace(&format!("label: {:?}", provider.label), "label");
    }
    assert!(!shown.contains(CANARY), "a secret is shown: {shown}");
}

fn follows(chain: &Chain) {
    assert!(named(&chain.name) && i64::try_from(chain.chain_id).is_ok_and(|id| id > 0), "{chain:?}");
    if let Confirmations::Blocks(depth) = chain.policy.confirmations {
        assert!(depth < chain.policy.reorg_window, "{chain:?}");
    }
    assert!(chain.node.ws_silence > chain.block_time && !chain.block_time.is_zero(), "{chain:?}");
    assert!(!chain.node.poll_interval.is_zero() && !chain.node.request_timeout.is_zero(), "{chain:?}");
    let history = &chain.node.history;
    assert!(history.initial_range > 0 && history.initial_range <= history.max_range, "{chain:?}");
    assert!(history.ranges_in_flight > 0 && history.buffer_bytes >= 1 << 20, "{chain:?}");
    assert!(chain.audit.is_none_or(|audit| audit.blocks > 0 && !audit.every.is_zero()), "{chain:?}");
    for pace in chain.node.providers.iter().map(|provider| &provider.pace) {
        assert!(pace.max_concurrent > 0 && pace.compute_units.contains_key("*"), "{chain:?}");
    }
}

fn means(source: &Source) {
    assert!(named(&source.name) && !source.events.is_empty(), "{source:?}");
    let some = match &source.addresses {
        AddressSet::Any => source.family != Family::Stake,
        AddressSet::Only(addresses) => !addresses.is_empty(),
    };
    assert!(some, "{source:?}");
    assert_eq!(source.decimals.is_some(), source.family == Family::Stake, "{source:?}");
    assert!(source.user.is_none() || source.family == Family::Generic, "{source:?}");
}

fn named(name: &str) -> bool {
    name.len() <= 40 && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn differ<T: Ord>(names: impl Iterator<Item = T>) {
    let names: Vec<T> = names.collect();
    let count = names.len();
    assert_eq!(names.into_iter().collect::<BTreeSet<T>>().len(), count, "twice");
}
