//! Rounds of probes of all providers: at an interval, soon after a provider in use fails, and more often while it
//! fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::choice::{ProviderFacts, behind};
use super::{PoolMember, PoolShared, probe};
use crate::error::ChainError;
use crate::rpc::probing;
use crate::settings::ProviderRole;
use crate::settings::Work;
use chainflume_ops::supervise::Turns;

/// Pause between the first failure and the next round: failures come several at a time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// While a fault lasts, the pause between two rounds grows by half each time, up to this. There may be no other
/// provider for hours, and a provider that recovers must be used within seconds.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// While the provider in use fails, a round ends this long after the first answer of another provider.
const EXTRA_WAIT: Duration = Duration::from_millis(500);
/// The head of the provider of the newest blocks is requested after this time without an answer. Between two blocks
/// no other request is made, so that only the next block would show a provider that hangs.
const MAX_QUIET: Duration = Duration::from_secs(5);

/// The state of the providers in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Calm,
    Suspected,
    Failing,
}

impl PoolShared {
    /// Probes all providers and switches, for ever. Reads that failed are repeated in parallel, because they may take
    /// long.
    pub(super) async fn run_probes(self: Arc<Self>, turns: Turns) {
        let readmissions = join_all(self.members.iter().map(|member| self.readmissions(member)));
        tokio::join!(self.rounds(&turns), readmissions);
    }

    /// Makes rounds of probes for ever: at the interval, and when a provider in use fails.
    async fn rounds(&self, turns: &Turns) {
        self.probe_all().await;
        // Wakes callers that wait until a provider of history is checked.
        self.in_use.send_modify(|_| {});
        let mut gap = FIRST_PAUSE;
        loop {
            self.probe_all().await;
            self.note_lag();
            for work in [ProviderRole::Live, ProviderRole::History] {
                self.decide(work).await;
            }
            // Alarms that this round caused are handled by now. They would start rounds for ever.
            let _rung = self.group.alarm.notified().now_or_never();
            let alarm = self.alarm();
            gap = if alarm == Urgency::Calm { FIRST_PAUSE } else { (gap * 3 / 2).min(MAX_PAUSE) };
            self.wait_for_next_round(alarm, gap, turns).await;
        }
    }

    /// Waits until the next round. After an `alarm` that is after `gap`, else after the configured interval.
    async fn wait_for_next_round(&self, alarm: Urgency, gap: Duration, turns: &Turns) {
        let interval = self.settings.failover.probe_interval;
        let rest = if alarm == Urgency::Calm { interval } else { gap.min(interval) };
        let until = Instant::now() + rest;
        loop {
            turns.turn();
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.readmitted.notified() => return,
                // Each failure of a provider in use is an alarm. Only an alarm that is more urgent than the last one
                // counts.
                () = self.group.alarm.notified() => if self.alarm() > alarm {
                    return sleep(interval.min(FIRST_PAUSE)).await;
                },
                () = sleep(MAX_QUIET) => if self.is_silent().await {
                    return;
                },
            }
        }
    }

    /// The state of the providers in use, the worse of the two.
    fn alarm(&self) -> Urgency {
        let in_use = self.in_use();
        let of = |(index, work): (usize, ProviderRole)| {
            let (fact, health) = (self.facts(work)[index], self.members[index].node.rpc.health.snapshot());
            match (fact.failing || !fact.fit, health.suspected || fact.rounds_behind > 0) {
                (true, _) => Urgency::Failing,
                (false, true) => Urgency::Suspected,
                (false, false) => Urgency::Calm,
            }
        };
        of((in_use.live, ProviderRole::Live)).max(of((in_use.history, ProviderRole::History)))
    }

    /// Whether the provider of the newest blocks has answered nothing for a while, and seems to fail after a request
    /// for its head.
    async fn is_silent(&self) -> bool {
        let member = &self.members[self.in_use().live];
        if member.node.rpc.health.snapshot().quiet_for < MAX_QUIET {
            return false;
        }
        let head = probing(self.settings.failover.probe_timeout, member.node.head()).await;
        self.note(member, head.map(|head| head.number));
        self.alarm() > Urgency::Calm
    }

    /// Probes each provider. If the provider in use fails and another one answers, the round soon ends without the
    /// providers that do not answer. They are tried last, and the next round probes them again.
    async fn probe_all(&self) {
        let look = async |index: usize| {
            self.probe_member(&self.members[index]).await;
            index
        };
        let mut looks: FuturesUnordered<_> = (0..self.members.len()).map(look).collect();
        let mut looked = vec![false; self.members.len()];
        let mut known: Option<Instant> = None;
        while known.is_none_or(|known| known.elapsed() < EXTRA_WAIT) {
            match timeout(EXTRA_WAIT, looks.next()).await {
                Ok(None) => break,
                Ok(Some(index)) => looked[index] = true,
                Err(_) => {}
            }
            known = known.or_else(|| self.has_substitute(&looked).then(Instant::now));
        }
        drop(looks);
        for (index, _) in looked.iter().enumerate().filter(|(_, looked)| !**looked) {
            self.members[index].findings().head = None;
        }
    }

    /// Whether a provider in use fails and a provider that was probed could replace it.
    fn has_substitute(&self, looked: &[bool]) -> bool {
        let in_use = self.in_use();
        [(in_use.live, ProviderRole::Live), (in_use.history, ProviderRole::History)].iter().any(
            |(now, work)| {
                let facts = self.facts(*work);
                let well = |fact: &ProviderFacts| fact.fit && !fact.failing;
                let answers =
                    |index: usize| looked[index] && well(&facts[index]) && facts[index].head.is_some();
                !well(&facts[*now]) && (0..facts.len()).any(|index| index != *now && answers(index))
            },
        )
    }

    /// Probes one provider.
    async fn probe_member(&self, member: &PoolMember) {
        let looked = probing(self.settings.failover.probe_timeout, self.probe(member)).await;
        self.note(member, looked);
    }

    fn note(&self, member: &PoolMember, looked: Result<u64, ChainError>) {
        let health = &member.node.rpc.health;
        match looked {
            Ok(head) => {
                member.findings().head = Some(head);
                let _ended = health.worked(Work::Probe, None);
            }
            Err(error) => {
                tracing::debug!(chain = %self.settings.name, %error, "a provider does not answer its probe");
                member.findings().head = None;
                health.work_failed(Work::Probe, None, Some(&error));
            }
        }
    }

    async fn probe(&self, member: &PoolMember) -> Result<u64, ChainError> {
        let (node, health) = (&member.node, member.node.rpc.health.snapshot());
        let failing = health.failing || health.failing_live || health.failing_history;
        let is_suspect = health.wrong || health.suspected || failing || member.is_incapable();
        // A provider may be on another chain after a failure, so its chain is checked first.
        if is_suspect || !member.findings().admitted {
            let checked = node.check_chain().await;
            member.findings().admitted = checked.is_ok();
            checked?;
        }
        let head = node.head().await?;
        if !is_suspect {
            return Ok(head.number);
        }
        probe::check_essentials(node, &self.settings, &self.group, head).await?;
        let reads = std::ptr::eq(&self.members[self.in_use().history], member);
        if reads && probe::recheck_current_range(node).await.is_err() {
            // The probe found a new failure, so nothing is cleared.
            return Ok(head.number);
        }
        node.rpc.health.cleared();
        // A reader that uses the provider decides better whether its reads succeed.
        if !self.is_used(member) || health.stale {
            member.again.notify_one();
        }
        Ok(head.number)
    }

    /// Repeats the failed reads of one provider, whenever a probe of it has passed. A round does not wait for this: a
    /// read may take as long as a request of the work, and the provider in use may fail meanwhile.
    async fn readmissions(&self, member: &PoolMember) {
        loop {
            member.again.notified().await;
            self.readmit(member).await;
        }
    }

    /// Clears the failures of a provider if all its failed reads succeed now.
    async fn readmit(&self, member: &PoolMember) {
        let node = &member.node;
        for work in [Work::Live, Work::History] {
            let Some(unread) = node.failed.get(work) else { continue };
            // The read is not urgent: it may take as long as a request of the work.
            let again = probing(self.settings.request_timeout, probe::repeat_read(node, work, &unread));
            if let Err(error) = again.await {
                let host = node.host();
                tracing::debug!(chain = %self.settings.name, host, %error, "a provider fails again at a read that it failed before");
                return;
            }
        }
        node.rpc.health.reset();
        member.findings().incapable_until = None;
        self.readmitted.notify_one();
    }

    fn is_used(&self, member: &PoolMember) -> bool {
        let in_use = self.in_use();
        [in_use.live, in_use.history].iter().any(|used| std::ptr::eq(&self.members[*used], member))
    }

    fn note_lag(&self) {
        let facts = self.facts(ProviderRole::Any);
        for (index, member) in self.members.iter().enumerate() {
            let late = behind(index, &facts) > self.settings.failover.max_lag;
            let mut seen = member.findings();
            seen.rounds_behind = if late { seen.rounds_behind.saturating_add(1) } else { 0 };
            if late {
                member.node.rpc.health.unwell();
            }
        }
    }
}
