//! The looks at the providers: at an interval, at once when something is wrong with one that is asked, and again while it is.

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

/// Between the first failure and the look at the others: failures come in handfuls.
const SOON: Duration = Duration::from_millis(200);
/// While a fault lasts, the pause between two looks grows by half each time, up to this. There may be no other provider for hours, and
/// a provider that recovers must be used within seconds.
const AT_LAST: Duration = Duration::from_secs(5);
/// While the provider in use fails, a look at the others waits so much longer than for the first answer.
const LATE: Duration = Duration::from_millis(500);
/// A provider that is asked about new blocks and has answered nothing for this long is asked for its head. Between two blocks nothing
/// else is, so that only the next block would show a provider that hangs.
const QUIET: Duration = Duration::from_secs(5);

/// What is wrong with the providers in use, and how urgent that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Calm,
    Suspected,
    Failing,
}

impl PoolShared {
    /// Probes all and switches, for ever. A provider that failed is asked again beside that: it may take its time.
    pub(super) async fn watch_over(self: Arc<Self>, turns: Turns) {
        let readmissions = join_all(self.members.iter().map(|member| self.readmissions(member)));
        tokio::join!(self.rounds(&turns), readmissions);
    }

    /// Rounds of looks, for ever: at the interval, and when one fails.
    async fn rounds(&self, turns: &Turns) {
        self.look_at_all().await;
        // A caller that waits for a provider of history to be checked looks again.
        self.in_use.send_modify(|_| {});
        let mut gap = SOON;
        loop {
            self.look_at_all().await;
            self.note_lag();
            for work in [ProviderRole::Live, ProviderRole::History] {
                self.decide(work).await;
            }
            // What the probes themselves met is known by now, and would ring for ever.
            let _rung = self.kin.alarm.notified().now_or_never();
            let alarm = self.alarm();
            gap = if alarm == Urgency::Calm { SOON } else { (gap * 3 / 2).min(AT_LAST) };
            self.rest((alarm, gap), turns).await;
        }
    }

    /// Until the next look at all of them.
    async fn rest(&self, (alarm, gap): (Urgency, Duration), turns: &Turns) {
        let interval = self.settings.failover.probe_interval;
        let rest = if alarm == Urgency::Calm { interval } else { gap.min(interval) };
        let until = Instant::now() + rest;
        loop {
            turns.turn();
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.readmitted.notified() => return,
                // One that is used and goes on failing rings with every failure; that it is worse now is news.
                () = self.kin.alarm.notified() => if self.alarm() > alarm {
                    return sleep(interval.min(SOON)).await;
                },
                () = sleep(QUIET) => if self.is_silent().await {
                    return;
                },
            }
        }
    }

    /// How those are that are asked now.
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

    /// Whether the one that is asked about new blocks has answered nothing for a while, and does not when it is asked.
    async fn is_silent(&self) -> bool {
        let member = &self.members[self.in_use().live];
        if member.node.rpc.health.snapshot().quiet_for < QUIET {
            return false;
        }
        let head = probing(self.settings.failover.probe_timeout, member.node.head()).await;
        self.note(member, head.map(|head| head.number));
        self.alarm() > Urgency::Calm
    }

    /// Asks each of them. Where the one that is asked fails and another one answers, those that do not answer are soon waited for
    /// no longer: they are the last to be turned to, and the next round asks them again.
    async fn look_at_all(&self) {
        let look = async |index: usize| {
            self.look_at(&self.members[index]).await;
            index
        };
        let mut looks: FuturesUnordered<_> = (0..self.members.len()).map(look).collect();
        let mut looked = vec![false; self.members.len()];
        let mut known: Option<Instant> = None;
        while known.is_none_or(|known| known.elapsed() < LATE) {
            match timeout(LATE, looks.next()).await {
                Ok(None) => break,
                Ok(Some(index)) => looked[index] = true,
                Err(_) => {}
            }
            known = known.or_else(|| self.has_substitute(&looked).then(Instant::now));
        }
        drop(looks);
        for (index, _) in looked.iter().enumerate().filter(|(_, looked)| !**looked) {
            self.members[index].seen().head = None;
        }
    }

    /// Whether one that is asked fails, and one of those that were looked at could be asked in its place.
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

    /// Asks one provider for its head, and for more where something is wrong with it.
    async fn look_at(&self, member: &PoolMember) {
        let looked = probing(self.settings.failover.probe_timeout, self.look(member)).await;
        self.note(member, looked);
    }

    fn note(&self, member: &PoolMember, looked: Result<u64, ChainError>) {
        let health = &member.node.rpc.health;
        match looked {
            Ok(head) => {
                member.seen().head = Some(head);
                let _ended = health.worked(Work::Probe, None);
            }
            Err(error) => {
                tracing::debug!(chain = %self.settings.name, %error, "a provider does not answer its probe");
                member.seen().head = None;
                health.work_failed(Work::Probe, None, Some(&error));
            }
        }
    }

    async fn look(&self, member: &PoolMember) -> Result<u64, ChainError> {
        let (node, health) = (&member.node, member.node.rpc.health.snapshot());
        let failing = health.failing || health.failing_live || health.failing_history;
        let is_suspect = health.wrong || health.suspected || failing || member.is_incapable();
        // One that was away may come back as another chain's, and is asked for nothing else before.
        if is_suspect || !member.seen().admitted {
            let checked = node.check_chain().await;
            member.seen().admitted = checked.is_ok();
            checked?;
        }
        let head = node.head().await?;
        if !is_suspect {
            return Ok(head.number);
        }
        probe::essential(node, (&self.settings, &self.kin), head).await?;
        let reads = std::ptr::eq(&self.members[self.in_use().history], member);
        if reads && probe::reading(node).await.is_err() {
            // Failures that are so new are not cleared.
            return Ok(head.number);
        }
        node.rpc.health.cleared();
        // The reader that works with it judges that better.
        if !self.is_used(member) || health.stale {
            member.again.notify_one();
        }
        Ok(head.number)
    }

    /// Asks one provider again for what it could not read, whenever a look at it went well. A look does not wait for that:
    /// it may take as long as a request of the work, and the provider in use may fail meanwhile.
    async fn readmissions(&self, member: &PoolMember) {
        loop {
            member.again.notified().await;
            self.readmit(member).await;
        }
    }

    /// Clears the failures of a provider if it can read by now all that it failed to read.
    async fn readmit(&self, member: &PoolMember) {
        let node = &member.node;
        for work in [Work::Live, Work::History] {
            let Some(unread) = node.failed.get(work) else { continue };
            // Nothing is urgent about it: it may take as long as a request of the work.
            let again = probing(self.settings.request_timeout, probe::again(node, work, &unread));
            if let Err(error) = again.await {
                let host = node.host();
                tracing::debug!(chain = %self.settings.name, host, %error, "a provider still fails at the question that it failed before");
                return;
            }
        }
        node.rpc.health.reset();
        member.seen().incapable_until = None;
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
            let mut seen = member.seen();
            seen.rounds_behind = if late { seen.rounds_behind.saturating_add(1) } else { 0 };
            if late {
                member.node.rpc.health.unwell();
            }
        }
    }
}
