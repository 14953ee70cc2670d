use proptest::prelude::*;

use super::*;

const SOON: Duration = Duration::from_millis(10);

fn settings(initial_range: u64, max_range: u64) -> HistorySettings {
    HistorySettings { ranges_in_flight: 4, initial_range, max_range, buffer_bytes: 32 << 20, commit_logs: 0 }
}

/// How a node with limits answers.
#[derive(Clone, Copy, Debug)]
struct FakeLimits {
    /// Most blocks.
    cap: u64,
    /// Most bytes; `None` for any.
    bytes: Option<u64>,
    /// How it answers about the cap.
    answer: FakeAnswer,
}

#[derive(Clone, Copy, Debug)]
enum FakeAnswer {
    /// Nothing but no.
    No,
    /// The cap.
    Cap,
    /// One more than the cap, as those who count from nought do.
    CapAndOne,
    /// What was asked, less one.
    Asked,
    /// Any number.
    Number(u64),
    /// That it is out of order.
    Nonsense,
}

/// Asks a node `rounds` times, four questions at once: the refusals before the first answer, those after it, and
/// the calls after it.
fn against(
    width: &mut Width,
    limits: FakeLimits,
    rounds: usize,
    density: impl Fn(usize) -> u64,
) -> (usize, usize, usize) {
    let (mut before, mut after, mut calls) = (0, 0, 0);
    for round in 0..rounds {
        let in_flight: Vec<u64> = (0..4).filter_map(|_| width.grant(u64::MAX)).collect();
        for asked in in_flight {
            let bytes = asked.saturating_mul(density(round));
            let refused = if asked > limits.cap {
                refuse(width, limits, asked)
            } else if limits.bytes.is_some_and(|most| bytes > most) {
                width.refused(asked, None, NarrowReason::Size);
                1
            } else {
                width.answered(asked, usize::try_from(bytes).expect("small"), SOON);
                0
            };
            if width.limits().is_none() {
                before += refused;
            } else {
                after += refused;
                calls += refused.max(1);
            }
        }
    }
    (before, after, calls)
}

/// Refuses until something narrower is asked; returns how often.
fn refuse(width: &mut Width, limits: FakeLimits, asked: u64) -> usize {
    let hint = match limits.answer {
        FakeAnswer::No => None,
        FakeAnswer::Cap => Some(limits.cap),
        FakeAnswer::CapAndOne => Some(limits.cap + 1),
        FakeAnswer::Asked => Some(asked - 1),
        FakeAnswer::Number(number) => Some(number),
        FakeAnswer::Nonsense => {
            return (1..).find(|times| width.failed(asked, *times)).expect("in the end") as usize;
        }
    };
    width.refused(asked, hint.filter(|hint| *hint < asked), NarrowReason::BlockSelector);
    1
}

const CAPS: [u64; 16] =
    [1, 2, 9, 10, 99, 100, 500, 800, 1000, 1001, 2000, 2048, 3000, 10_000, 50_000, 999_999];

#[test]
fn any_cap_is_found_in_a_dozen_refusals_and_then_rarely_met() {
    for answer in [
        FakeAnswer::No,
        FakeAnswer::Cap,
        FakeAnswer::CapAndOne,
        FakeAnswer::Asked,
        FakeAnswer::Number(7),
        FakeAnswer::Nonsense,
    ] {
        for cap in CAPS {
            let mut width = Width::new(&settings(1000, 1_000_000), None);
            let (before, after, calls) =
                against(&mut width, FakeLimits { cap, bytes: None, answer }, 1000, |_| 0);
            let case = format!("cap {cap} {answer:?}: {before} before, {after} of {calls} after");
            assert!(before <= 12, "{case}");
            assert!(after * 100 < calls, "{case}");
            let (found, _) = width.limits().expect("it answered");
            assert!(found <= cap && found >= cap / 2, "{case}: settled at {found}");
        }
    }
}

#[test]
fn one_question_at_a_time_tries_what_is_not_proven() {
    let mut width = Width::new(&settings(1000, 10_000), None);
    assert_eq!((width.grant(u64::MAX), width.grant(u64::MAX)), (Some(1000), None));
    width.answered(1000, 100, SOON);
    let granted = [width.grant(u64::MAX), width.grant(u64::MAX), width.grant(7)];
    assert_eq!(granted, [Some(2000), Some(1000), Some(7)]);
    width.refused(2000, None, NarrowReason::BlockSelector);
    assert_eq!((width.grant(u64::MAX), width.grant(u64::MAX)), (Some(1000), Some(1000)));
    for _ in 0..2 * ANSWERS_BEFORE_TRY {
        width.answered(1000, 100, SOON);
    }
    assert_eq!((width.grant(u64::MAX), width.grant(u64::MAX)), (Some(1500), Some(1000)));
    width.begin();
    assert_eq!((width.grant(1200), width.grant(u64::MAX)), (Some(1200), Some(1000)));
}

#[test]
fn a_hint_is_taken_at_once() {
    let mut width = Width::new(&settings(10_000, 1_000_000), None);
    width.refused(10_000, Some(2048), NarrowReason::BlockSelector);
    assert_eq!(width.now(), 2048);
    width.answered(2048, 0, SOON);
    assert_eq!((width.now(), width.limits()), (2048, Some((2048, Some(2049)))));
}

#[test]
fn a_hint_that_creeps_is_followed_once() {
    let mut width = Width::new(&settings(10_000, 10_000), None);
    let asked: Vec<u64> = std::iter::repeat_with(|| {
        let asked = width.now();
        width.refused(asked, Some(asked - 1), NarrowReason::BlockSelector);
        asked
    })
    .take(5)
    .collect();
    assert_eq!(asked, [10_000, 9999, 4999, 2499, 624]);
}

#[test]
fn saved_limits_are_where_the_next_run_begins() {
    let limits = FakeLimits { cap: 2000, bytes: None, answer: FakeAnswer::No };
    let mut width = Width::new(&settings(1000, 100_000), None);
    against(&mut width, limits, 3000, |_| 0);
    let mut again = Width::new(&settings(1000, 100_000), width.limits());
    assert_eq!(Some(again.now()), width.limits().map(|(proven, _)| proven));
    assert_eq!(against(&mut again, limits, 20, |_| 0).1, 0);
    assert_eq!(Width::new(&settings(10, 500), Some((2000, None))).now(), 500);
}

#[test]
fn a_limit_that_is_lifted_is_noticed() {
    let mut width = Width::new(&settings(1000, 100_000), None);
    against(&mut width, FakeLimits { cap: 500, bytes: None, answer: FakeAnswer::Cap }, 1000, |_| 0);
    let lifted = FakeLimits { cap: u64::MAX, bytes: None, answer: FakeAnswer::No };
    against(&mut width, lifted, 5000, |_| 0);
    assert_eq!(width.now(), 100_000);
}

#[test]
fn a_limit_of_months_is_noticed_as_soon_when_it_is_lifted() {
    let mut width = Width::new(&settings(1000, 100_000), None);
    let (capped, free) = (500, u64::MAX);
    let node = |cap| FakeLimits { cap, bytes: None, answer: FakeAnswer::No };
    against(&mut width, node(capped), 100_000, |_| 0);
    assert!(width.now() <= capped);
    against(&mut width, node(free), 5_000, |_| 0);
    assert_eq!(width.now(), 100_000, "four answers a round: after 16,384 of them the limit is tried");
}

#[test]
fn an_answer_of_even_density_is_not_too_large_again_and_again() {
    let mut width = Width::new(&settings(1000, 10_000), None);
    let limits = FakeLimits { cap: u64::MAX, bytes: Some(300_000), answer: FakeAnswer::No };
    let (before, after, calls) = against(&mut width, limits, 2000, |_| 1000);
    assert_eq!(before, 2);
    assert!(after * 100 < calls, "{after} of {calls}");
}

#[test]
fn where_logs_are_sparse_again_the_width_comes_back_at_once() {
    let mut width = Width::new(&settings(1000, 10_000), None);
    width.refused(1000, None, NarrowReason::Size);
    width.answered(500, 500_000, SOON);
    assert_eq!(width.now(), 500);
    for wider in [1000, 2000, 4000, 8000, 10_000] {
        width.answered(width.now(), 100, SOON);
        assert_eq!(width.now(), wider);
    }
}

#[test]
fn an_outage_of_a_width_that_worked_is_over_when_it_is_over() {
    let mut width = Width::new(&settings(1000, 8000), None);
    for _ in 0..4 {
        width.answered(width.now(), 100, SOON);
    }
    for times in (1..=3).cycle().take(40 * 3) {
        width.failed(width.now(), times);
    }
    assert_eq!(width.now(), 1);
    for _ in 0..13 {
        width.answered(width.now(), 100, SOON);
    }
    assert_eq!((width.now(), width.limits()), (8000, Some((4096, None))));
}

#[test]
fn large_or_slow_answers_do_not_widen() {
    let mut width = Width::new(&settings(1000, 10_000), None);
    width.answered(1000, 100, Duration::from_secs(3));
    assert_eq!(width.now(), 1000);
    width.answered(1000, 16 << 20, SOON);
    assert_eq!(width.now(), 250, "as wide as its share of the buffer holds, an eighth of 32 MiB");
    width.answered(250, 4 << 20, SOON);
    assert_eq!(width.now(), 250, "and wider only when answers are smaller");
    width.answered(250, 3 << 20, SOON);
    assert_eq!(width.now(), 333);
}

proptest! {
    #[test]
    fn no_limit_keeps_it_from_an_answer(
        cap in 1..100_000u64,
        bytes in proptest::option::of(1000..1_000_000u64),
        initial in 1..1_000_000u64,
        dense in 0..2000u64,
        answer in prop_oneof![
            Just(FakeAnswer::No), Just(FakeAnswer::Cap), Just(FakeAnswer::CapAndOne), Just(FakeAnswer::Asked), Just(FakeAnswer::Nonsense),
            any::<u64>().prop_map(FakeAnswer::Number), (0..10_000u64).prop_map(FakeAnswer::Number),
        ],
    ) {
        let mut width = Width::new(&settings(initial, 1_000_000), None);
        // A single block must fit, else it is for the filter to be split.
        let bytes = bytes.map(|most| most.max(dense));
        let limits = FakeLimits { cap, bytes, answer };
        let (before, after, calls) = against(&mut width, limits, 2000, |round| if round % 300 < 150 { dense } else { 1 });
        prop_assert!(before <= 12, "{before} refusals before any answer");
        prop_assert!(calls > 1000, "{calls} calls");
        prop_assert!(after * 20 < calls, "{after} of {calls} refused");
        let granted = width.grant(u64::MAX).unwrap_or(1);
        prop_assert!((1..=1_000_000).contains(&granted));
    }
}

#[test]
fn a_width_grows_again_after_a_limit_in_flight_is_lifted() {
    let mut width = Width::new(&settings(1_000, 10_000), None);
    let free = FakeLimits { cap: 10_000, bytes: None, answer: FakeAnswer::No };
    against(&mut width, free, 20, |_| 1);
    assert_eq!(width.now(), 10_000);
    // Sixteen questions are on their way when a limit comes.
    let in_flight: Vec<u64> = (0..16).filter_map(|_| width.grant(u64::MAX)).collect();
    for asked in in_flight {
        width.refused(asked, None, NarrowReason::BlockSelector);
    }
    against(&mut width, FakeLimits { cap: 31, ..free }, 40, |_| 1);
    assert!(width.now() <= 31, "{}", width.now());
    // It is lifted: a thousand answers later the width is far from narrow.
    against(&mut width, free, 1_000, |_| 1);
    assert!(width.now() >= 1_000, "{}", width.now());
}
