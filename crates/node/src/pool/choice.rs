//! Decides which provider is used, from facts alone.

use std::time::Duration;

/// The facts about one provider at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProviderFacts {
    /// The configured priority; a lower number is preferred.
    pub priority: u32,
    /// Whether its role includes this work, it is on the right chain, and it has not just failed a check.
    pub fit: bool,
    /// Whether it fails now.
    pub failing: bool,
    /// Its newest block, as it returned it.
    pub head: Option<u64>,
    /// Rounds of probes in a row in which it lagged behind the others.
    pub rounds_behind: u32,
    /// Time since its last failure.
    pub well_for: Duration,
    /// How long it must work before a switch to it that is not urgent.
    pub required_well_for: Duration,
    /// Usual time of an answer.
    pub latency: Duration,
}

/// Limits of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SwitchRules {
    /// Blocks a provider may lag behind the others.
    pub max_lag: u64,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwitchDecision {
    /// Use the same provider.
    Stay,
    /// Use another provider from now on.
    Switch(usize, SwitchReason),
}

/// Why another provider is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwitchReason {
    /// The provider in use fails, or is on another chain.
    Failing,
    /// It lags behind the others.
    Behind,
    /// It is far slower than another of the same priority.
    Slow,
    /// A preferred provider has worked for long enough.
    Return,
}

impl SwitchReason {
    /// The text in log lines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "the previous provider fails",
            Self::Behind => "the previous provider lags behind",
            Self::Slow => "the previous provider is slow",
            Self::Return => "the new provider is preferred and has worked for a while",
        }
    }

    /// One word for metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Behind => "behind",
            Self::Slow => "slow",
            Self::Return => "return",
        }
    }
}

/// A provider must lag in this many rounds: in one round it may just have been probed a moment earlier.
const LAGGING_ROUNDS: u32 = 3;
/// A provider that answers within this time is not slow: a switch would gain nothing.
const SLOW_LATENCY: Duration = Duration::from_secs(1);
/// A slow provider is left only for one that is this many times faster. Otherwise two similar providers would be
/// swapped for ever.
const SPEED_FACTOR: u32 = 4;

/// Decides whether to leave the provider `in_use`. A chain that makes no blocks causes no switch: lag is measured
/// against the heads of other providers and never against the clock.
pub(super) fn choose(in_use: usize, facts: &[ProviderFacts], rules: &SwitchRules) -> SwitchDecision {
    let lag = |index: usize| behind(index, facts);
    let now = &facts[in_use];
    let usable = |index: &usize| {
        let fact = &facts[*index];
        *index != in_use && fact.fit && !fact.failing
    };
    let near = |index: &usize| usable(index) && lag(*index) <= rules.max_lag;
    // A provider without a known head is tried last: each try costs seconds.
    let best = |index: &usize| (facts[*index].head.is_none(), facts[*index].priority, facts[*index].latency);
    if !now.fit || now.failing {
        // The answers of a provider that lags are late and not wrong: better than none.
        let last = || (0..facts.len()).filter(usable).min_by_key(|index| lag(*index));
        let other = (0..facts.len()).filter(near).min_by_key(best).or_else(last);
        return other
            .map_or(SwitchDecision::Stay, |other| SwitchDecision::Switch(other, SwitchReason::Failing));
    }
    let others = || (0..facts.len()).filter(near);
    if now.rounds_behind >= LAGGING_ROUNDS {
        // Switch only to a provider that has newer blocks.
        let ahead = others().filter(|other| facts[*other].head > now.head);
        return ahead
            .min_by_key(best)
            .map_or(SwitchDecision::Stay, |other| SwitchDecision::Switch(other, SwitchReason::Behind));
    }
    let proven = || others().filter(|other| facts[*other].well_for >= facts[*other].required_well_for);
    let preferred = proven().filter(|other| facts[*other].priority < now.priority);
    if let Some(other) = preferred.min_by_key(best) {
        return SwitchDecision::Switch(other, SwitchReason::Return);
    }
    let quicker = proven().filter(|other| {
        let fact = &facts[*other];
        fact.priority == now.priority
            && now.latency >= SLOW_LATENCY
            && fact.latency * SPEED_FACTOR <= now.latency
    });
    quicker
        .min_by_key(best)
        .map_or(SwitchDecision::Stay, |other| SwitchDecision::Switch(other, SwitchReason::Slow))
}

/// Blocks by which a provider lags behind the others; 0 while its head is unknown. With two or more others, the
/// highest head alone does not count: one provider that announces blocks which do not exist causes no switch.
pub(super) fn behind(index: usize, facts: &[ProviderFacts]) -> u64 {
    let Some(own) = facts[index].head else { return 0 };
    let others =
        facts.iter().enumerate().filter(|(other, fact)| *other != index && fact.fit && !fact.failing);
    let mut heads: Vec<u64> = others.filter_map(|(_, fact)| fact.head).collect();
    heads.sort_unstable();
    let reference = match heads.as_slice() {
        [.., second, highest] => (*second).max(own).min(*highest),
        [only] => *only,
        [] => own,
    };
    reference.saturating_sub(own)
}

#[cfg(test)]
mod tests {
    use super::SwitchDecision::{Stay, Switch};
    use super::SwitchReason::{Behind, Failing, Return, Slow};
    use super::*;

    const RULES: SwitchRules = SwitchRules { max_lag: 3 };
    const MINUTE: Duration = Duration::from_secs(60);

    fn well(priority: u32, head: u64) -> ProviderFacts {
        ProviderFacts {
            priority,
            fit: true,
            failing: false,
            head: Some(head),
            rounds_behind: 0,
            well_for: MINUTE,
            required_well_for: MINUTE,
            latency: Duration::from_millis(50),
        }
    }

    fn with(fact: ProviderFacts, change: impl FnOnce(&mut ProviderFacts)) -> ProviderFacts {
        let mut fact = fact;
        change(&mut fact);
        fact
    }

    #[test]
    fn each_state_of_affairs_has_one_choice() {
        let (first, second) = (well(0, 100), well(1, 100));
        let failing = |fact| with(fact, |fact| fact.failing = true);
        let unfit = |fact| with(fact, |fact| fact.fit = false);
        let late = |fact, head| with(fact, |fact| (fact.head, fact.rounds_behind) = (Some(head), 3));
        let slow = |fact| with(fact, |fact| fact.latency = Duration::from_secs(2));
        let young = |fact| with(fact, |fact| fact.well_for = MINUTE / 2);
        let unheard = |fact| with(fact, |fact| fact.head = None);
        let table: &[(&str, usize, &[ProviderFacts], SwitchDecision)] = &[
            ("one alone stays whatever it does", 0, &[unfit(failing(first))], Stay),
            ("two that are well", 0, &[first, second], Stay),
            ("the one in use fails", 0, &[failing(first), second], Switch(1, Failing)),
            ("it is on another chain", 0, &[unfit(first), second], Switch(1, Failing)),
            ("both fail", 0, &[failing(first), failing(second)], Stay),
            ("the other has another role", 0, &[failing(first), unfit(second)], Stay),
            ("a late one is better than none", 0, &[failing(first), well(1, 50)], Switch(1, Failing)),
            (
                "one that is near is better than a late one that is preferred",
                0,
                &[failing(well(0, 100)), well(1, 50), well(2, 100), well(3, 100)],
                Switch(2, Failing),
            ),
            ("the one in use lags", 0, &[late(first, 90), second], Switch(1, Behind)),
            ("it lagged for a moment", 0, &[with(late(first, 90), |f| f.rounds_behind = 2), second], Stay),
            ("all lag alike", 0, &[late(first, 90), late(second, 90)], Stay),
            ("the preferred one is back", 1, &[first, second], Switch(0, Return)),
            ("it is back for a moment", 1, &[young(first), second], Stay),
            ("it is back and lags", 1, &[well(0, 90), second], Stay),
            ("it is back and its head is not known yet", 1, &[unheard(young(first)), second], Stay),
            ("a slow one of equals", 0, &[slow(well(0, 100)), well(0, 100)], Switch(1, Slow)),
            ("a slow one that is preferred", 0, &[slow(first), second], Stay),
            ("two slow ones", 0, &[slow(well(0, 100)), slow(well(0, 100))], Stay),
            ("one of three announces a block that does not exist", 0, &[first, second, well(2, 9_000)], Stay),
        ];
        for (what, in_use, facts, choice) in table {
            assert_eq!(choose(*in_use, facts, &RULES), *choice, "{what}");
        }
    }

    #[test]
    fn lag_is_measured_against_the_others_that_can_be_trusted() {
        let lags =
            |facts: &[ProviderFacts]| (0..facts.len()).map(|index| behind(index, facts)).collect::<Vec<_>>();
        assert_eq!(lags(&[well(0, 7)]), [0]);
        assert_eq!(lags(&[well(0, 7), well(1, 9)]), [2, 0]);
        assert_eq!(lags(&[well(0, 7), with(well(1, 9), |fact| fact.failing = true)]), [0, 2 - 2]);
        assert_eq!(lags(&[well(0, 7), well(1, 9), well(2, 9_000)]), [2, 0, 0]);
        assert_eq!(lags(&[well(0, 5), well(1, 5), well(2, 5)]), [0, 0, 0]);
    }
}
