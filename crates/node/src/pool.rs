//! The providers of one chain, and which of them is asked. Each is asked for its head now and then, and watched
//! while it is used; what follows from that is decided in [`choice`] and done here. A caller sees one
//! [`Node`] at a time, so that what is compared within a step comes from one provider.

mod agreement;
mod choice;
mod look;
mod probe;
mod report;

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
pub use probe::essential;
pub(super) use probe::reading;
pub use report::ProviderState;

/// The providers of one chain. Dropping it ends the probes.
pub struct Pool {
    shared: Arc<PoolShared>,
    probes: Option<Beside>,
}

/// Which provider does which work, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ActiveProviders {
    live: usize,
    history: usize,
}

struct PoolShared {
    settings: ChainSettings,
    members: Vec<PoolMember>,
    in_use: watch::Sender<ActiveProviders>,
    kin: ProviderGroup,
    /// Notified when the failures of a provider are cleared: another provider may be used then.
    readmitted: Notify,
}

struct PoolMember {
    settings: ProviderSettings,
    node: Arc<Node>,
    seen: Mutex<ProbeFindings>,
    /// Rung when it may be asked again for what it could not read.
    again: Notify,
}

/// What the probes have found.
#[derive(Clone, Copy, Debug, Default)]
struct ProbeFindings {
    head: Option<u64>,
    rounds_behind: u32,
    /// It has returned its chain id since it last failed.
    admitted: bool,
    /// It has failed the probe before a promotion, and is not tried again until then.
    incapable_until: Option<Instant>,
    /// It contradicts what is final, and is not asked again until then.
    distrusted_until: Option<Instant>,
    /// How often it was left for failing, lately.
    left: u32,
    /// When it was last taken or left.
    changed: Option<Instant>,
}

/// Notifies when another provider is asked.
pub struct SwitchListener(watch::Receiver<ActiveProviders>);

impl SwitchListener {
    /// Returns at the next switch; never where there is but one provider. May be dropped and called again.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Pool {
    /// Begins with the preferred provider. Where there are several, all of them are probed from now on.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let kin = ProviderGroup::default();
        let member = |provider: &ProviderSettings| {
            let node = Arc::new(Node::among(settings, provider, kin.clone())?);
            Ok(PoolMember { settings: provider.clone(), node, seen: Mutex::default(), again: Notify::new() })
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
        let shared = Arc::new(PoolShared { settings, members, in_use, kin, readmitted });
        let this = Loop::new(format!("probes {}", shared.settings.name), shared.probes_hang_after());
        let probes = (shared.members.len() > 1)
            .then(|| Beside::start(this, |turns| PoolShared::watch_over(shared.clone(), turns)));
        Ok(Self { shared, probes })
    }

    /// # Panics
    /// When the probes panicked or hang: the chain is not to continue without them.
    pub fn check(&mut self) {
        self.probes.iter_mut().for_each(Beside::check);
    }

    /// Whom to ask about the newest blocks.
    pub fn live(&self) -> Arc<Node> {
        self.shared.members[self.shared.in_use().live].node.clone()
    }

    /// Whom to ask about old blocks.
    pub fn history(&self) -> Arc<Node> {
        self.shared.members[self.shared.in_use().history].node.clone()
    }

    /// The settings of the provider that is asked about the newest blocks.
    pub fn live_settings(&self) -> &ProviderSettings {
        &self.shared.members[self.shared.in_use().live].settings
    }

    /// A provider that is well and is not this one.
    pub fn another(&self, than: &Arc<Node>) -> Option<Arc<Node>> {
        let facts = self.shared.facts(ProviderRole::Any);
        let other = |index: &usize| !Arc::ptr_eq(&self.shared.members[*index].node, than);
        let well = |index: &usize| facts[*index].fit && !facts[*index].failing;
        let all = (0..facts.len()).filter(other).filter(well);
        all.min_by_key(|index| facts[*index].priority).map(|index| self.shared.members[index].node.clone())
    }

    /// Whether there is another one to turn to.
    pub fn has_several(&self) -> bool {
        self.shared.members.len() > 1
    }

    /// Notifies when another provider is asked.
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

    fn seen(&self) -> MutexGuard<'_, ProbeFindings> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_distrusted(&self) -> bool {
        self.seen().distrusted_until.is_some_and(|until| Instant::now() < until)
    }

    fn is_incapable(&self) -> bool {
        self.seen().incapable_until.is_some_and(|until| Instant::now() < until)
    }
}

impl PoolShared {
    /// A round of probes waits for answers one after the other, each for as long as a request may take.
    fn probes_hang_after(&self) -> Duration {
        Duration::from_mins(2).max(self.settings.request_timeout * 8)
    }

    fn in_use(&self) -> ActiveProviders {
        *self.in_use.borrow()
    }

    /// What is known of each provider, for this work.
    fn facts(&self, work: ProviderRole) -> Vec<ProviderFacts> {
        let unknown = Duration::MAX;
        let fact = |member: &PoolMember| {
            let (health, seen) = (member.node.rpc.health.snapshot(), *member.seen());
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
                owes: self.settings.failover.return_after * 2u32.pow(seen.left.min(MOST_LEFT)),
                latency: health.latency.unwrap_or(unknown),
            }
        };
        self.members.iter().map(fact).collect()
    }

    /// Switches the provider of one work, if another is better and proves that it can do it.
    async fn decide(&self, work: ProviderRole) {
        let rules = SwitchRules { max_lag: self.settings.failover.max_lag };
        // Each of them fails its probe at most once before it is left out.
        for _ in &self.members {
            let in_use = self.in_use();
            let now = if work == ProviderRole::Live { in_use.live } else { in_use.history };
            let SwitchDecision::Switch(next, why) = choose(now, &self.facts(work), &rules) else { return };
            let (from, to) = (&self.members[now], &self.members[next]);
            // Where the other one fails, this one has to do what that one could not.
            let failed = if why == SwitchReason::Failing { &from.node } else { &to.node };
            let task = TakeoverTask { unread: failed.failed.get(kind(work)), work: kind(work), why };
            match probe::all(&to.node, &to.settings, (&self.settings, &self.kin), task).await {
                Ok(()) => {
                    to.seen().incapable_until = None;
                    return self.switch(work, from, PoolSlot { member: to, index: next }, why);
                }
                Err(reason) => self.note_incapable(to, &reason),
            }
        }
    }

    /// A provider that fails the check is logged seldom, and checked again at the next switch.
    fn note_incapable(&self, to: &PoolMember, reason: &str) {
        let until = Instant::now() + self.settings.failover.return_after;
        if to.seen().incapable_until.replace(until).is_none_or(|until| until <= Instant::now()) {
            let host = &to.settings.label;
            tracing::warn!(chain = %self.settings.name, host, reason, "a provider failed the check before a switch; the present one stays in use");
        }
        to.node.rpc.health.unwell();
    }

    fn switch(&self, work: ProviderRole, from: &PoolMember, to: PoolSlot<'_>, why: SwitchReason) {
        let PoolSlot { member: to, index } = to;
        let now = Instant::now();
        {
            let mut left = from.seen();
            // A provider that was good for a long time starts anew.
            let long = self.settings.failover.return_after * RESET_AFTER;
            if left.changed.is_some_and(|taken| taken.elapsed() > long) {
                left.left = 0;
            }
            if matches!(why, SwitchReason::Failing | SwitchReason::Behind) {
                left.left = left.left.saturating_add(1);
            }
            left.changed = Some(now);
        }
        to.seen().changed = Some(now);
        let role = if work == ProviderRole::Live { "live" } else { "history" };
        let (old, new) = (&from.settings.label, &to.settings.label);
        tracing::warn!(chain = %self.settings.name, role, from = %old, to = %new, reason = why.as_str(), "provider switched");
        metrics::provider_switched(&self.settings.name, role, why.word());
        self.in_use.send_modify(|in_use| match work {
            ProviderRole::Live => in_use.live = index,
            _ => in_use.history = index,
        });
        if why == SwitchReason::Failing {
            from.node.rpc.leave();
        }
    }

    fn report_metrics(&self) {
        let facts = self.facts(ProviderRole::Any);
        let in_use = self.in_use();
        for (index, member) in self.members.iter().enumerate() {
            let well = facts[index].fit && !facts[index].failing && facts[index].rounds_behind == 0;
            let label = (self.settings.name.as_str(), member.settings.label.as_str());
            let sample = metrics::ProviderSample {
                in_use: in_use.live == index,
                healthy: well,
                behind: behind(index, &facts),
                latency: facts[index].latency,
            };
            metrics::provider(label, sample);
            for (check, off) in member.node.trust.given_up() {
                metrics::evidence_off(label, check.as_str(), off);
            }
        }
    }
}

fn kind(work: ProviderRole) -> Work {
    if work == ProviderRole::History { Work::History } else { Work::Live }
}

/// A provider that comes and goes is waited for twice as long each time it was left, up to 32 times `return_after`.
const MOST_LEFT: u32 = 5;
/// A provider that was used for so many `return_after` without a break starts anew.
const RESET_AFTER: u32 = 10;
