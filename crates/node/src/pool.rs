//! The providers of one chain, and which of them is in use. A probe reads the head of each at an interval, and the
//! health of each is counted while it is used. [`choice`] decides when to switch, and this module switches. A caller
//! uses one [`Node`] at a time, so that all answers of one step come from one provider.

mod agreement;
mod choice;
mod probe;
mod report;
mod rounds;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::error::ChainError;
use super::node::{Node, ProviderGroup};
use super::settings::Work;
use super::settings::{ChainSettings, ProviderRole, ProviderSettings};
use chainflume_ops::metrics;
use chainflume_ops::supervise::{Beside, Loop};
use choice::{ProviderFacts, SwitchDecision, SwitchReason, SwitchRules, behind, choose};
use probe::TakeoverTask;
pub use probe::check_essentials;
pub(super) use probe::recheck_current_range;
pub use report::ProviderState;

/// The providers of one chain. To drop it ends the probes.
pub struct Pool {
    shared: Arc<PoolShared>,
    probes: Option<Beside>,
}

/// The providers in use, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ActiveProviders {
    live: usize,
    history: usize,
}

struct PoolShared {
    settings: ChainSettings,
    members: Vec<PoolMember>,
    in_use: watch::Sender<ActiveProviders>,
    group: ProviderGroup,
    /// Notified when the failures of a provider are cleared, so that a switch may be due.
    readmitted: Notify,
}

struct PoolMember {
    settings: ProviderSettings,
    node: Arc<Node>,
    findings: Mutex<ProbeFindings>,
    /// Notified when the reads that failed are to be repeated.
    again: Notify,
}

/// What the probes have found.
#[derive(Clone, Copy, Debug, Default)]
struct ProbeFindings {
    head: Option<u64>,
    rounds_behind: u32,
    /// It has returned the right chain id since it last failed.
    admitted: bool,
    /// It has failed the check before a switch, and is not checked again until then.
    incapable_until: Option<Instant>,
    /// It contradicts final blocks, and is not used until then.
    distrusted_until: Option<Instant>,
    /// How often the pool has switched away from it because of failures or lag, lately.
    times_left: u32,
    /// Time of the last switch to it or away from it.
    changed: Option<Instant>,
}

/// Waits for switches to another provider.
pub struct SwitchListener(watch::Receiver<ActiveProviders>);

impl SwitchListener {
    /// Returns at the next switch; never where there is only one provider. Cancel safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Pool {
    /// Begins with the preferred provider. Where there are several, all of them are probed.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let group = ProviderGroup::default();
        let member = |provider: &ProviderSettings| {
            let node = Arc::new(Node::among(settings, provider, group.clone())?);
            Ok(PoolMember {
                settings: provider.clone(),
                node,
                findings: Mutex::default(),
                again: Notify::new(),
            })
        };
        let members: Vec<PoolMember> =
            settings.providers.iter().map(member).collect::<Result<_, ChainError>>()?;
        let first = |role| {
            let fits = |index: &usize| members[*index].does(role);
            (0..members.len()).filter(fits).min_by_key(|index| members[*index].settings.priority).unwrap_or(0)
        };
        let (in_use, _) = watch::channel(ActiveProviders {
            live: first(ProviderRole::Live),
            history: first(ProviderRole::History),
        });
        let (settings, readmitted) = (settings.clone(), Notify::new());
        let shared = Arc::new(PoolShared { settings, members, in_use, group, readmitted });
        let this = Loop::new(format!("probes {}", shared.settings.name), shared.probes_hang_after());
        let probes = (shared.members.len() > 1)
            .then(|| Beside::start(this, |turns| PoolShared::run_probes(shared.clone(), turns)));
        Ok(Self { shared, probes })
    }

    /// # Panics
    /// When the probes panicked or hang: the chain must not continue without them.
    pub fn check(&mut self) {
        self.probes.iter_mut().for_each(Beside::check);
    }

    /// The provider for the newest blocks.
    pub fn live(&self) -> Arc<Node> {
        self.shared.members[self.shared.in_use().live].node.clone()
    }

    /// The provider for history.
    pub fn history(&self) -> Arc<Node> {
        self.shared.members[self.shared.in_use().history].node.clone()
    }

    /// The settings of the provider for the newest blocks.
    pub fn live_settings(&self) -> &ProviderSettings {
        &self.shared.members[self.shared.in_use().live].settings
    }

    /// Another provider that works, the most preferred one.
    pub fn another(&self, than: &Arc<Node>) -> Option<Arc<Node>> {
        let facts = self.shared.facts(ProviderRole::Any);
        let other = |index: &usize| !Arc::ptr_eq(&self.shared.members[*index].node, than);
        let well = |index: &usize| facts[*index].fit && !facts[*index].failing;
        let all = (0..facts.len()).filter(other).filter(well);
        all.min_by_key(|index| facts[*index].priority).map(|index| self.shared.members[index].node.clone())
    }

    /// Whether there are several providers.
    pub fn has_several(&self) -> bool {
        self.shared.members.len() > 1
    }

    /// A listener for switches to another provider.
    pub fn switched(&self) -> SwitchListener {
        SwitchListener(self.shared.in_use.subscribe())
    }
}

/// A provider and its place in the order of the configuration.
struct PoolSlot<'a> {
    member: &'a PoolMember,
    index: usize,
}

impl PoolMember {
    fn does(&self, work: ProviderRole) -> bool {
        work == ProviderRole::Any || self.settings.role.includes(work)
    }

    fn findings(&self) -> MutexGuard<'_, ProbeFindings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_distrusted(&self) -> bool {
        self.findings().distrusted_until.is_some_and(|until| Instant::now() < until)
    }

    fn is_incapable(&self) -> bool {
        self.findings().incapable_until.is_some_and(|until| Instant::now() < until)
    }
}

impl PoolShared {
    /// A round of probes waits for several answers in a row, each for up to the timeout of a request.
    fn probes_hang_after(&self) -> Duration {
        Duration::from_mins(2).max(self.settings.request_timeout * 8)
    }

    fn in_use(&self) -> ActiveProviders {
        *self.in_use.borrow()
    }

    /// The facts about each provider for this work.
    fn facts(&self, work: ProviderRole) -> Vec<ProviderFacts> {
        let unknown = Duration::MAX;
        let fact = |member: &PoolMember| {
            let (health, seen) = (member.node.rpc.health.snapshot(), *member.findings());
            let at_work = match work {
                ProviderRole::Live => health.failing_live,
                ProviderRole::History => health.failing_history,
                ProviderRole::Any | ProviderRole::Audit => health.failing_live || health.failing_history,
            };
            ProviderFacts {
                priority: member.settings.priority,
                fit: member.does(work) && !health.wrong && !member.is_incapable() && !member.is_distrusted(),
                failing: health.failing || at_work || member.node.rpc.refuses(),
                head: seen.head,
                rounds_behind: seen.rounds_behind,
                well_for: health.well_for,
                required_well_for: self.settings.failover.return_after
                    * 2u32.pow(seen.times_left.min(MAX_DOUBLINGS)),
                latency: health.latency.unwrap_or(unknown),
            }
        };
        self.members.iter().map(fact).collect()
    }

    /// Switches the provider of one kind of work, if another one is better and passes a check.
    async fn decide(&self, work: ProviderRole) {
        let rules = SwitchRules { max_lag: self.settings.failover.max_lag };
        // Each provider fails the check at most once, and is then left out.
        for _ in &self.members {
            let in_use = self.in_use();
            let now = if work == ProviderRole::Live { in_use.live } else { in_use.history };
            let SwitchDecision::Switch(next, why) = choose(now, &self.facts(work), &rules) else { return };
            let (from, to) = (&self.members[now], &self.members[next]);
            // If the provider in use fails, the new one must succeed at the read that failed there.
            let failed = if why == SwitchReason::Failing { &from.node } else { &to.node };
            let task = TakeoverTask { unread: failed.failed.get(kind(work)), work: kind(work), why };
            match probe::all(&to.node, &to.settings, &self.settings, &self.group, task).await {
                Ok(()) => {
                    to.findings().incapable_until = None;
                    return self.switch(work, from, PoolSlot { member: to, index: next }, why);
                }
                Err(reason) => self.note_incapable(to, &reason),
            }
        }
    }

    /// Records a provider that failed the check before a switch: it is not checked again for `return_after`.
    fn note_incapable(&self, to: &PoolMember, reason: &str) {
        let until = Instant::now() + self.settings.failover.return_after;
        if to.findings().incapable_until.replace(until).is_none_or(|until| until <= Instant::now()) {
            let host = &to.settings.label;
            tracing::warn!(chain = %self.settings.name, host, reason, "a provider failed the check before a switch; the present one stays in use");
        }
        to.node.rpc.health.unwell();
    }

    fn switch(&self, work: ProviderRole, from: &PoolMember, to: PoolSlot<'_>, why: SwitchReason) {
        let PoolSlot { member: to, index } = to;
        let now = Instant::now();
        {
            let mut left = from.findings();
            // Earlier switches do not count after a long time of use.
            let long = self.settings.failover.return_after * RESET_AFTER;
            if left.changed.is_some_and(|taken| taken.elapsed() > long) {
                left.times_left = 0;
            }
            if matches!(why, SwitchReason::Failing | SwitchReason::Behind) {
                left.times_left = left.times_left.saturating_add(1);
            }
            left.changed = Some(now);
        }
        to.findings().changed = Some(now);
        let role = if work == ProviderRole::Live { "live" } else { "history" };
        let (old, new) = (&from.settings.label, &to.settings.label);
        tracing::warn!(chain = %self.settings.name, role, from = %old, to = %new, reason = why.as_str(), "provider switched");
        metrics::provider_switched(&self.settings.name, role, why.word());
        self.in_use.send_modify(|in_use| match work {
            ProviderRole::Live => in_use.live = index,
            _ => in_use.history = index,
        });
        if why == SwitchReason::Failing {
            from.node.rpc.cancel_requests();
        }
    }

    fn report_metrics(&self) {
        let facts = self.facts(ProviderRole::Any);
        let in_use = self.in_use();
        for (index, member) in self.members.iter().enumerate() {
            let well = facts[index].fit && !facts[index].failing && facts[index].rounds_behind == 0;
            let (chain, provider) = (&*self.settings.name, &*member.settings.label);
            let labels = metrics::ProviderLabels { chain, provider };
            let sample = metrics::ProviderSample {
                in_use: in_use.live == index,
                healthy: well,
                behind: behind(index, &facts),
                latency: facts[index].latency,
            };
            metrics::provider(labels, sample);
            for (check, off) in member.node.trust.given_up() {
                metrics::evidence_off(labels, check.as_str(), off);
            }
        }
    }
}

fn kind(work: ProviderRole) -> Work {
    if work == ProviderRole::History { Work::History } else { Work::Live }
}

/// The time before a switch back doubles with each switch away, up to 2^5 times `return_after`.
const MAX_DOUBLINGS: u32 = 5;
/// After a use of this many `return_after` earlier switches are forgotten.
const RESET_AFTER: u32 = 10;
