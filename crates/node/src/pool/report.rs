use std::collections::BTreeMap;
use std::time::Duration;

use super::choice::behind;
use super::{Pool, PoolMember};
use crate::rpc::MethodUsage;
use crate::settings::ProviderRole;

/// The state of a provider.
#[derive(Clone, Debug)]
pub struct ProviderState {
    /// Its name in messages and metrics.
    pub label: String,
    /// Its configured role.
    pub role: ProviderRole,
    /// Whether the newest blocks are read from it.
    pub live: bool,
    /// Whether old blocks are read from it.
    pub history: bool,
    /// `well`, `failing`, `behind`, `wrong_chain`, `contradicts` or `incapable`.
    pub state: &'static str,
    /// Its newest block in the last probe.
    pub head: Option<u64>,
    /// Blocks by which it lags behind the others.
    pub behind: u64,
    /// Usual time of an answer.
    pub latency: Option<Duration>,
    /// Failures since the start.
    pub failures: u64,
    /// The last failure; `None` after all failures have ended.
    pub last_error: Option<String>,
    /// Calls since the start by method.
    pub usage: Vec<MethodUsage>,
}

impl Pool {
    /// The state of each provider. Updates the metrics as well.
    pub fn report(&self) -> Vec<ProviderState> {
        self.shared.report_metrics();
        let (facts, in_use) = (self.shared.facts(ProviderRole::Any), self.shared.in_use());
        let report = |(index, member): (usize, &PoolMember)| {
            let health = member.node.rpc.health.snapshot();
            let state = match facts[index] {
                _ if health.wrong => "wrong_chain",
                _ if member.is_distrusted() => "contradicts",
                _ if member.is_incapable() => "incapable",
                fact if fact.failing => "failing",
                fact if fact.rounds_behind > 0 => "behind",
                _ => "well",
            };
            ProviderState {
                label: member.settings.label.clone(),
                role: member.settings.role,
                live: in_use.live == index,
                history: in_use.history == index,
                state,
                head: facts[index].head,
                behind: behind(index, &facts),
                latency: health.latency,
                failures: health.failures,
                last_error: health.last_error,
                usage: member.node.usage(),
            }
        };
        self.shared.members.iter().enumerate().map(report).collect()
    }

    /// Calls to all providers since the start by method.
    pub fn usage(&self) -> Vec<MethodUsage> {
        let mut all: BTreeMap<&str, MethodUsage> = BTreeMap::new();
        for usage in self.shared.members.iter().flat_map(|member| member.node.usage()) {
            let sum = all.entry(usage.method).or_insert(MethodUsage {
                requests: 0,
                failed: 0,
                credits: 0,
                ..usage
            });
            sum.requests += usage.requests;
            sum.failed += usage.failed;
            sum.credits += usage.credits;
        }
        all.into_values().collect()
    }
}
