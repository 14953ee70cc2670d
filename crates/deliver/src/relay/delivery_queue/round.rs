//! What is decided about deliveries, without sending any.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde::Deserialize;

use super::super::RelayError;
use crate::sink::SinkError;
use chainflume_outbox::{AggregateKey, OutboxRow, RoundOutcome, SinkPacing, SinkState};

/// When a delivery that failed is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Time from the first failure to the second try, from the second failure to the third, and so on. After the try
    /// that follows the last the message is given up.
    pub waits: Vec<Duration>,
    /// Tries of a message that the receiver refuses for itself (4xx) before it is given up.
    pub attempts: u32,
}

/// Longest pause of an endpoint that is away: so long it may be back unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// An endpoint may ask for patience, not for silence.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

impl Schedule {
    /// Time to the next try after so many failures (1 after the first); `None` when it is given up.
    fn next(&self, failures: u64, error: &SinkError) -> Option<Duration> {
        if matches!(error, SinkError::TooLarge { .. }) {
            return None;
        }
        let given_up = error.refuses_message() && failures >= u64::from(self.attempts);
        let wait = self.wait(failures).filter(|_| !given_up);
        // Nobody is asked again who said that this is for ever, so it cannot be given up either.
        let wait = wait.or_else(|| error.is_gone().then_some(Duration::ZERO))?;
        Some(wait.max(retry_after(error).unwrap_or_default()) + jitter(wait))
    }

    fn wait(&self, failures: u64) -> Option<Duration> {
        self.waits.get(usize::try_from(failures.checked_sub(1)?).ok()?).copied()
    }

    /// The pause after so many rounds in which nothing could be delivered.
    fn pause(&self, failures: u64) -> Duration {
        self.wait(failures).or(self.waits.last().copied()).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
    }
}

fn retry_after(error: &SinkError) -> Option<Duration> {
    error.retry_after().map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

/// Up to a tenth more, so that what failed together is not tried together (the standard asks for it).
fn jitter(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) % 1_000;
    wait.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 10_000.0)
}

/// A message of the outbox.
#[derive(Clone, Debug)]
pub(super) struct NewMessage {
    row: OutboxRow,
    /// What it is about; `None` where the endpoint does not want it.
    pub(super) about: Option<AggregateKey>,
}

#[derive(Deserialize)]
struct QueueHead {
    #[serde(rename = "aggregateId")]
    aggregate_id: String,
}

/// Which messages an endpoint wants, and what they are about.
pub(super) fn wanted(rows: Vec<OutboxRow>, types: &[String]) -> Result<Vec<NewMessage>, RelayError> {
    let fresh = |row: OutboxRow| {
        if !types.is_empty() && !types.iter().any(|wanted| fits(wanted, &row.message_type)) {
            return Ok(NewMessage { row, about: None });
        }
        let head: QueueHead =
            serde_json::from_str(&row.message).map_err(|error| RelayError::Message(error.to_string()))?;
        let about = Some((row.aggregate_type.clone(), head.aggregate_id));
        Ok(NewMessage { row, about })
    };
    rows.into_iter().map(fresh).collect()
}

fn fits(wanted: &str, message_type: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => message_type.starts_with(start),
        None => wanted == message_type,
    }
}

/// What can be sent at the same time.
#[derive(Debug)]
pub(super) struct DeliveryChunk {
    /// So many messages are dealt with then.
    pub(super) taken: usize,
    /// These are sent, each about something else.
    pub(super) send: Vec<OutboxRow>,
    /// These wait behind others about the same thing.
    pub(super) behind: Vec<(u64, String)>,
}

/// The longest beginning of `messages` that can be sent at the same time and in any order.
pub(super) fn next_chunk(
    messages: &[NewMessage],
    held: &BTreeSet<AggregateKey>,
    in_flight: usize,
) -> DeliveryChunk {
    let mut chunk = DeliveryChunk { taken: 0, send: Vec::new(), behind: Vec::new() };
    let mut about_these = HashSet::new();
    for message in messages {
        if let Some(about) = &message.about {
            if held.contains(about) {
                chunk.behind.push((message.row.seq, about.1.clone()));
            } else if chunk.send.len() < in_flight.max(1) && about_these.insert(about) {
                chunk.send.push(message.row.clone());
            } else {
                return chunk;
            }
        }
        chunk.taken += 1;
    }
    chunk
}

/// What came of the tries of one round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Up to where messages of the outbox are dealt with; `None` in a round of held ones.
    cursor: Option<u64>,
    /// The epoch of that number.
    pub(super) epoch: Option<String>,
    held: Vec<(u64, String)>,
    pub(super) delivered: Vec<u64>,
    /// Number, tries before this one, what was wrong.
    pub(super) failed: Vec<(u64, u64, SinkError)>,
}

impl Round {
    pub(super) fn new(cursor: Option<u64>) -> Self {
        Self { cursor, ..Self::default() }
    }

    /// Nothing more is tried after a failure: it may be the endpoint's.
    pub(super) fn is_over(&self) -> bool {
        self.failed.iter().any(|(.., error)| !matches!(error, SinkError::TooLarge { .. }))
    }

    /// These are dealt with: sent, not wanted, or behind others.
    pub(super) fn took(&mut self, messages: &[NewMessage], behind: Vec<(u64, String)>) {
        if let Some(NewMessage { row, .. }) = messages.last() {
            (self.cursor, self.epoch) = (Some(row.seq), Some(row.epoch.epoch.clone()));
        }
        let failed: HashSet<u64> = self.failed.iter().map(|(seq, ..)| *seq).collect();
        let failed = messages.iter().filter(|message| failed.contains(&message.row.seq));
        self.held.extend(failed.filter_map(|m| Some((m.row.seq, m.about.as_ref()?.1.clone()))));
        self.held.extend(behind);
    }

    /// What is to be noted of it, where the sink stood so.
    pub(super) fn result(&self, schedule: &Schedule, state: &SinkState) -> RoundOutcome {
        let mut settled = RoundOutcome {
            cursor: self.cursor.filter(|cursor| *cursor > 0),
            held: self.held.clone(),
            delivered: self.delivered.clone(),
            pace: self.pace(schedule, state),
            ..RoundOutcome::default()
        };
        for (seq, attempts, error) in &self.failed {
            match schedule.next(attempts + 1, error) {
                Some(wait) => settled.failed.push((*seq, wait, error.to_string())),
                None => settled.dead.push((*seq, error.to_string())),
            }
        }
        settled
    }

    fn pace(&self, schedule: &Schedule, state: &SinkState) -> Option<SinkPacing> {
        if let Some((.., gone)) = self.failed.iter().find(|(.., error)| error.is_gone()) {
            return Some(SinkPacing { disabled: Some(gone.to_string()), ..SinkPacing::default() });
        }
        let asked = self.failed.iter().filter_map(|(.., error)| retry_after(error)).max();
        if self.is_over() && self.delivered.is_empty() {
            let failures = state.failures + 1;
            let pause = schedule.pause(failures).max(asked.unwrap_or_default());
            return Some(SinkPacing { failures, pause, ..SinkPacing::default() });
        }
        // Two rounds: one alone may have been about a message that nobody could take.
        let is_back = state.failures >= 2 && !self.delivered.is_empty();
        let recovered = state.failures > 0 && !self.delivered.is_empty();
        let pause = asked.unwrap_or_default();
        (recovered || asked.is_some()).then_some(SinkPacing { failures: 0, pause, disabled: None, is_back })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_outbox::OutboxEpoch;

    const WAITS: [u64; 3] = [5, 300, 1_800];

    fn schedule() -> Schedule {
        Schedule { waits: WAITS.map(Duration::from_secs).to_vec(), attempts: 2 }
    }

    fn answered(status: u16, retry_after: Option<u64>) -> SinkError {
        let retry_after = retry_after.map(Duration::from_secs);
        SinkError::Answered {
            sink: "webhook",
            host: "h".to_owned(),
            status,
            retry_after,
            text: String::new(),
        }
    }

    fn fresh(seq: u64, about: &str) -> NewMessage {
        let row = OutboxRow {
            seq,
            aggregate_type: "user".to_owned(),
            message_type: "user.updated".to_owned(),
            state: "confirmed".to_owned(),
            user_id: None,
            message: format!("{{\"aggregateId\":\"{about}\"}}"),
            age_micros: 0,
            seen_micros: None,
            epoch: OutboxEpoch { epoch: "a".to_owned(), after: 0, first: 1 },
        };
        NewMessage { row, about: (!about.is_empty()).then(|| ("user".to_owned(), about.to_owned())) }
    }

    #[test]
    fn a_failure_is_followed_by_the_schedule_and_at_last_by_nothing() {
        let waits = |status, failures, retry_after| {
            schedule().next(failures, &answered(status, retry_after)).map(|wait| wait.as_secs())
        };
        let about = |seconds: u64| move |wait: u64| (seconds..=seconds * 11 / 10).contains(&wait);
        for (failures, seconds) in (1..).zip(WAITS) {
            assert!(waits(500, failures, None).is_some_and(about(seconds)), "{failures}");
        }
        assert_eq!(waits(500, 4, None), None, "given up");
        assert!(waits(404, 1, None).is_some_and(about(5)));
        assert_eq!(waits(404, 2, None), None, "refused twice");
        assert!(waits(429, 2, None).is_some_and(about(300)), "not the message's fault");
        assert!(waits(429, 1, Some(60)).is_some_and(about(60)), "as it asked");
        assert!(waits(503, 1, Some(60)).is_some_and(about(60)), "as it asked");
        assert!(waits(503, 1, Some(u64::MAX)).is_some_and(about(86_400)), "but not for ever");
        assert_eq!(waits(410, 9, None), Some(0), "kept until somebody decides");
    }

    #[test]
    fn messages_about_one_thing_are_never_sent_together_nor_past_one_that_waits() {
        let messages: Vec<NewMessage> = [(1, "a"), (2, "b"), (3, ""), (4, "h"), (5, "c"), (6, "a"), (7, "d")]
            .map(|(n, a)| fresh(n, a))
            .into();
        let held = [("user".to_owned(), "h".to_owned())].into();
        let seqs = |chunk: &DeliveryChunk| chunk.send.iter().map(|row| row.seq).collect::<Vec<_>>();
        let first = next_chunk(&messages, &held, 4);
        assert_eq!(
            (first.taken, seqs(&first), &first.behind),
            (5, vec![1, 2, 5], &vec![(4, "h".to_owned())])
        );
        let second = next_chunk(&messages[5..], &held, 4);
        assert_eq!((second.taken, seqs(&second)), (2, vec![6, 7]));
        let narrow = next_chunk(&messages, &held, 1);
        assert_eq!((narrow.taken, seqs(&narrow)), (1, vec![1]));
    }

    #[test]
    fn an_endpoint_that_takes_nothing_is_left_alone_for_a_while_and_one_that_takes_something_is_not() {
        let state = |failures| SinkState { failures, ..SinkState::default() };
        let pace = |delivered: &[u64], failed: Vec<(u64, u64, SinkError)>, failures| {
            let round = Round { delivered: delivered.to_vec(), failed, ..Round::default() };
            round.result(&schedule(), &state(failures)).pace
        };
        let paused = |failures, seconds, is_back| {
            Some(SinkPacing { failures, pause: Duration::from_secs(seconds), disabled: None, is_back })
        };
        assert_eq!(pace(&[1], vec![], 0), None);
        assert_eq!(pace(&[], vec![(1, 0, answered(500, None))], 0), paused(1, 5, false));
        assert_eq!(pace(&[], vec![(1, 0, answered(500, None))], 7), paused(8, 300, false));
        assert_eq!(pace(&[], vec![(1, 0, answered(429, Some(900)))], 0), paused(1, 900, false));
        assert_eq!(pace(&[2], vec![(1, 0, answered(500, None))], 0), None);
        assert_eq!(pace(&[2], vec![(1, 0, answered(429, Some(9)))], 0), paused(0, 9, false));
        assert_eq!(pace(&[1], vec![], 1), paused(0, 0, false));
        assert_eq!(pace(&[1], vec![], 2), paused(0, 0, true));
        let gone = pace(&[], vec![(1, 0, answered(410, None))], 0).and_then(|pace| pace.disabled);
        assert_eq!(gone.as_deref(), Some("webhook at h answered 410"));
    }

    #[test]
    fn types_are_wanted_by_name_or_by_family() {
        assert!(
            fits("stake.*", "stake.staked") && fits("user.activated", "user.activated") && fits("*", "a.b")
        );
        assert!(!fits("stake.*", "user.activated") && !fits("user", "user.activated"));
    }
}
