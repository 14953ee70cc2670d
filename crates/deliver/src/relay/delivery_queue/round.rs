//! The decisions about deliveries; nothing is sent here.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::super::RelayError;
use crate::sink::SinkError;
use chainflume_core::settings::{Fault, parse_duration, text};
use chainflume_outbox::{DueDelivery, HeldMessage, OutboxRow, RoundOutcome, SinkPacing, SinkState};

/// When a failed delivery is retried.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// Time from the first failure to the second try, from the second failure to the third, and so on. If the try after
    /// the last entry fails, the message becomes a dead letter.
    #[serde(rename = "retry_schedule", deserialize_with = "waits")]
    pub waits: Vec<Duration>,
    /// Number of tries before a message that the receiver refuses (4xx) becomes a dead letter.
    #[serde(
        rename = "retry_attempts",
        deserialize_with = "chainflume_core::settings::number::<1, 100, _, _>"
    )]
    pub attempts: u32,
}

/// The schedule the standard gives as its example, which is commonly used: ten tries in three days.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

impl Default for Schedule {
    fn default() -> Self {
        Self { waits: WAITS.to_vec(), attempts: 3 }
    }
}

fn waits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    let bounds = Duration::from_millis(10)..=Duration::from_hours(7 * 24);
    chainflume_core::settings::texts(deserializer, |text| parse_duration(text, &bounds))
}

/// The messages that wait behind a failed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// Messages about the same account and contract.
    #[default]
    Account,
    /// Messages about the same aggregate: a whole token or contract, or a user.
    Contract,
    /// Only messages about the same event: a retraction never precedes the message that it retracts.
    None,
}

impl<'de> Deserialize<'de> for DeliveryOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |text| match text {
            "account" => Ok(Self::Account),
            "contract" => Ok(Self::Contract),
            "none" => Ok(Self::None),
            _ => {
                let remedy = "write \"account\", \"contract\" or \"none\"";
                Err(Fault::new("is not an order of deliveries", remedy))
            }
        })
    }
}

/// Longest pause after an unreachable endpoint: a working endpoint is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Limit for the `Retry-After` of an endpoint: it may delay deliveries, but not stop them.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);
/// Limit for the same of all messages: an endpoint that asks for more and works again is noticed within an hour.
const LONGEST_REQUESTED_PAUSE: Duration = Duration::from_hours(1);
/// A receiver that refuses a message seldom accepts it later. One second covers a deployment behind a load balancer.
/// The pause doubles with each try, so the default of three tries ends after three seconds.
const FIRST_REFUSED_WAIT: Duration = Duration::from_secs(1);
/// Longest pause of an endpoint that refuses everything: it answers, so a try is cheap. Until a wrong key or path is
/// corrected, about [`MOST_REFUSALS`] messages become dead letters in three such pauses.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// This many refusals without a delivery end a round: the fault may be the endpoint's.
const MOST_REFUSALS: u64 = 20;

impl Schedule {
    /// Pause before the next try after this many failures (1 after the first); `None` when the message is given up.
    fn next(&self, failures: u64, error: &SinkError) -> Option<Duration> {
        if matches!(error, SinkError::TooLarge { .. }) {
            return None;
        }
        let is_refused = error.refuses_message();
        let given_up = is_refused && failures >= u64::from(self.attempts);
        let wait = self.wait(failures).filter(|_| !given_up);
        let wait = wait.map(|wait| if is_refused { wait.min(refused_wait(failures)) } else { wait });
        // A disabled sink is not called again, so the message cannot be given up either.
        let wait = wait.or_else(|| error.is_gone().then_some(Duration::ZERO))?;
        Some(wait.max(retry_after(error).unwrap_or_default()) + jitter(wait))
    }

    fn wait(&self, failures: u64) -> Option<Duration> {
        self.waits.get(usize::try_from(failures.checked_sub(1)?).ok()?).copied()
    }

    /// The pause after this many rounds without a delivery.
    fn pause(&self, failures: u64) -> Duration {
        self.wait(failures).or(self.waits.last().copied()).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
    }
}

/// Doubles, starting at [`FIRST_REFUSED_WAIT`].
fn refused_wait(failures: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    (FIRST_REFUSED_WAIT * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// The pause after this many refusals without a delivery. The first refusals cause no pause: a few refused messages
/// must not delay the others.
fn refused_pause(refusals: u64) -> Duration {
    match refusals / MOST_REFUSALS {
        0 => Duration::ZERO,
        times => refused_wait(times).min(LONGEST_REFUSED_PAUSE),
    }
}

fn retry_after(error: &SinkError) -> Option<Duration> {
    error.retry_after().map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

/// Adds up to a tenth, so that messages that failed together are not retried together (a recommendation of the
/// standard).
fn jitter(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) % 1_000;
    wait.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 10_000.0)
}

/// A message of the outbox, or a message that waited for its next try.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) row: OutboxRow,
    /// Number of tries before this one.
    pub(super) attempts: u64,
    /// The keys of the message; `None` if the endpoint does not want its type.
    pub(super) about: Option<About>,
}

/// The keys of a message: what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    aggregate_id: String,
    /// Messages with the same key are delivered in the order of their numbers.
    pub(super) order_key: String,
    /// The key under which old versions held messages.
    pub(super) old_key: String,
}

impl From<DueDelivery> for Outgoing {
    fn from(DueDelivery { row, attempts, aggregate_id, order_key }: DueDelivery) -> Self {
        let about = About { aggregate_id, old_key: order_key.clone(), order_key };
        Self { row, attempts, about: Some(about) }
    }
}

#[derive(Deserialize)]
struct QueueHead {
    #[serde(default)]
    id: String,
    #[serde(rename = "aggregateId")]
    aggregate_id: String,
}

/// The message types that an endpoint wants, and the keys of messages.
pub(super) fn wanted(
    rows: Vec<OutboxRow>,
    types: &[String],
    order: DeliveryOrder,
) -> Result<Vec<Outgoing>, RelayError> {
    let fresh = |row: OutboxRow| {
        if !types.is_empty() && !types.iter().any(|wanted| fits(wanted, &row.message_type)) {
            return Ok(Outgoing { row, attempts: 0, about: None });
        }
        let head: QueueHead =
            serde_json::from_str(&row.message).map_err(|error| RelayError::Message(error.to_string()))?;
        let about = Some(about(&row, head, order));
        Ok(Outgoing { row, attempts: 0, about })
    };
    rows.into_iter().map(fresh).collect()
}

fn about(row: &OutboxRow, QueueHead { id, aggregate_id }: QueueHead, order: DeliveryOrder) -> About {
    let old_key = format!("{} {aggregate_id}", row.aggregate_type);
    let order_key = match (order, &row.account) {
        (DeliveryOrder::Contract, _) => old_key.clone(),
        (DeliveryOrder::None, _) => format!("{old_key} {id}"),
        // The id of a user is an account.
        (DeliveryOrder::Account, _) if row.aggregate_type == "user" => old_key.clone(),
        (DeliveryOrder::Account, Some(account)) => format!("{old_key} {}", hex(account)),
        (DeliveryOrder::Account, None) => format!("{old_key} -"),
    };
    About { aggregate_id, order_key, old_key }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fits(wanted: &str, message_type: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => message_type.starts_with(start),
        None => wanted == message_type,
    }
}

/// The messages of one parallel step.
#[derive(Debug)]
pub(super) struct DeliveryChunk {
    /// Number of messages that this step covers.
    pub(super) taken: usize,
    /// Messages to send, all with different keys.
    pub(super) send: Vec<Outgoing>,
    /// Messages that wait behind others with the same key.
    pub(super) behind: Vec<HeldMessage>,
}

/// The longest prefix of `messages` that can be sent in parallel and in any order.
pub(super) fn next_chunk(messages: &[Outgoing], held: &BTreeSet<String>, in_flight: usize) -> DeliveryChunk {
    let mut chunk = DeliveryChunk { taken: 0, send: Vec::new(), behind: Vec::new() };
    let mut about_these = HashSet::new();
    for message in messages {
        if let Some(about) = &message.about {
            if held.contains(&about.order_key) || held.contains(&about.old_key) {
                chunk.behind.push(held_message(message.row.seq, about));
            } else if chunk.send.len() < in_flight.max(1) && about_these.insert(&about.order_key) {
                chunk.send.push(message.clone());
            } else {
                return chunk;
            }
        }
        chunk.taken += 1;
    }
    chunk
}

fn held_message(seq: u64, about: &About) -> HeldMessage {
    HeldMessage { seq, aggregate_id: about.aggregate_id.clone(), order_key: about.order_key.clone() }
}

/// The results of the tries of one round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The last outbox number that the round covered; `None` in a round of retries.
    cursor: Option<u64>,
    /// The epoch of that number.
    pub(super) epoch: Option<String>,
    held: Vec<HeldMessage>,
    pub(super) delivered: Vec<u64>,
    /// Per failed message: number, tries before this one, error.
    pub(super) failed: Vec<(u64, u64, SinkError)>,
}

/// What a round shows about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Showing {
    /// It accepted a message.
    Accepts,
    /// It accepted none, and refused each message for its content.
    Refuses,
    /// It accepted none, for a reason of the endpoint.
    Fails,
    /// It received no message.
    Nothing,
}

impl Round {
    /// A round that tries messages again. It moves no cursor.
    pub(super) fn of_retries() -> Self {
        Self::default()
    }

    /// A round that moves the cursor over new messages.
    pub(super) fn of_new_messages() -> Self {
        Self { cursor: Some(0), ..Self::default() }
    }

    /// Stops the round after a failure of the endpoint, or when the endpoint refuses every message.
    pub(super) fn is_over(&self) -> bool {
        self.failed.iter().any(|(.., error)| !error.refuses_message())
            || (self.failed.len() as u64 >= MOST_REFUSALS && self.delivered.is_empty())
    }

    /// What the round shows about the endpoint. A message that was too large to send shows nothing.
    pub(super) fn showing(&self) -> Showing {
        let mut sent = self.failed.iter().map(|(.., error)| error).filter(|error| is_an_answer(error));
        match (self.delivered.is_empty(), sent.next()) {
            (false, _) => Showing::Accepts,
            (true, None) => Showing::Nothing,
            (true, Some(first)) if first.refuses_message() && sent.all(SinkError::refuses_message) => {
                Showing::Refuses
            }
            (true, Some(_)) => Showing::Fails,
        }
    }

    /// Keys of which no more messages are sent in this round.
    pub(super) fn blocked<'a>(&self, messages: &'a [Outgoing]) -> impl Iterator<Item = &'a str> {
        let failed: HashSet<u64> = self.failed.iter().map(|(seq, ..)| *seq).collect();
        let failed = messages.iter().filter(move |message| failed.contains(&message.row.seq));
        failed.filter_map(|message| Some(message.about.as_ref()?.order_key.as_str()))
    }

    /// Marks these as covered: sent, not wanted, or behind others.
    pub(super) fn took(&mut self, messages: &[Outgoing], behind: Vec<HeldMessage>) {
        // Messages of a retry round are held already.
        if self.cursor.is_none() {
            return;
        }
        if let Some(Outgoing { row, .. }) = messages.last() {
            (self.cursor, self.epoch) = (Some(row.seq), Some(row.epoch.epoch.clone()));
        }
        let failed: HashSet<u64> = self.failed.iter().map(|(seq, ..)| *seq).collect();
        let failed = messages.iter().filter(|message| failed.contains(&message.row.seq));
        self.held.extend(failed.filter_map(|m| Some(held_message(m.row.seq, m.about.as_ref()?))));
        self.held.extend(behind);
    }

    /// The outcome to store, given this state of the sink. `refused` is the number of refused messages since the last
    /// delivery, before this round.
    pub(super) fn result(&self, schedule: &Schedule, state: &SinkState, refused: u64) -> RoundOutcome {
        let mut outcome = RoundOutcome {
            cursor: self.cursor.filter(|cursor| *cursor > 0),
            held: self.held.clone(),
            delivered: self.delivered.clone(),
            pace: self.pace(schedule, state, refused),
            ..RoundOutcome::default()
        };
        for (seq, attempts, error) in &self.failed {
            match schedule.next(attempts + 1, error) {
                Some(wait) => outcome.failed.push((*seq, wait, error.to_string())),
                None => outcome.dead.push((*seq, error.to_string())),
            }
        }
        outcome
    }

    fn pace(&self, schedule: &Schedule, state: &SinkState, refused: u64) -> Option<SinkPacing> {
        if let Some((.., gone)) = self.failed.iter().find(|(.., error)| error.is_gone()) {
            let disabled = Some(gone.to_string());
            return Some(SinkPacing { last_error: disabled.clone(), disabled, ..SinkPacing::default() });
        }
        let asked = self.failed.iter().filter_map(|(.., error)| retry_after(error)).max();
        let asked = asked.map(|asked| asked.min(LONGEST_REQUESTED_PAUSE));
        let last = self.failed.iter().map(|(.., error)| error).rfind(|error| is_an_answer(error));
        let last_error = last.map(SinkError::to_string);
        match self.showing() {
            Showing::Nothing => None,
            Showing::Fails => {
                let failures = state.failures + 1;
                let pause = schedule.pause(failures).max(asked.unwrap_or_default());
                Some(SinkPacing { failures, pause, last_error, ..SinkPacing::default() })
            }
            Showing::Refuses => {
                let pause = refused_pause(refused + self.failed.len() as u64);
                Some(SinkPacing { failures: state.failures, pause, last_error, ..SinkPacing::default() })
            }
            Showing::Accepts => {
                // Two rounds: a single one may have contained only a message that no receiver could accept.
                let is_back = state.failures >= 2;
                let recovered = state.failures > 0 || state.last_error.is_some();
                let pause = asked.unwrap_or_default();
                (recovered || asked.is_some()).then_some(SinkPacing {
                    pause,
                    is_back,
                    ..SinkPacing::default()
                })
            }
        }
    }
}

/// Whether the endpoint received any message.
fn is_an_answer(error: &SinkError) -> bool {
    !matches!(error, SinkError::TooLarge { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_core::domain::MessageState;
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

    fn row(seq: u64, about: &str) -> OutboxRow {
        OutboxRow {
            seq,
            aggregate_type: "user".to_owned(),
            message_type: "user.updated".to_owned(),
            state: MessageState::Confirmed,
            user_id: None,
            counterparty_user_id: None,
            account: None,
            message: format!("{{\"id\":\"i\",\"aggregateId\":\"{about}\"}}"),
            age_micros: 0,
            seen_micros: None,
            epoch: OutboxEpoch { epoch: "a".to_owned(), after: 0, first: 1 },
        }
    }

    fn fresh(seq: u64, about: &str) -> Outgoing {
        let types = if about.is_empty() { vec!["none".to_owned()] } else { Vec::new() };
        wanted(vec![row(seq, about)], &types, DeliveryOrder::Account).expect("JSON").remove(0)
    }

    #[test]
    fn a_message_waits_for_its_account_and_contract_or_its_event() {
        let transfer = |account: Option<[u8; 2]>, order| {
            let account = account.map(|account| account.to_vec());
            let row = OutboxRow { aggregate_type: "token".to_owned(), account, ..row(1, "0xaa") };
            wanted(vec![row], &[], order).expect("JSON").remove(0).about.expect("wanted").order_key
        };
        assert_eq!(transfer(Some([1, 0xff]), DeliveryOrder::Account), "token 0xaa 01ff");
        assert_eq!(transfer(None, DeliveryOrder::Account), "token 0xaa -");
        assert_eq!(transfer(Some([1, 0xff]), DeliveryOrder::Contract), "token 0xaa");
        assert_eq!(transfer(Some([1, 0xff]), DeliveryOrder::None), "token 0xaa i");
        assert_eq!(fresh(1, "0xbb").about.expect("wanted").order_key, "user 0xbb");
        let held = ["token 0xaa".to_owned()].into();
        let row = OutboxRow { aggregate_type: "token".to_owned(), ..row(2, "0xaa") };
        let messages = wanted(vec![row], &[], DeliveryOrder::Account).expect("JSON");
        assert_eq!(next_chunk(&messages, &held, 1).behind.len(), 1, "as an older program held it");
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
        assert!(waits(404, 1, None).is_some_and(about(1)), "the receiver has answered");
        assert_eq!(waits(404, 2, None), None, "refused twice");
        assert!(waits(429, 2, None).is_some_and(about(300)), "not the message's fault");
        assert!(waits(429, 1, Some(60)).is_some_and(about(60)), "as it asked");
        assert!(waits(503, 1, Some(60)).is_some_and(about(60)), "as it asked");
        assert!(waits(503, 1, Some(u64::MAX)).is_some_and(about(86_400)), "but not for ever");
        assert_eq!(waits(410, 9, None), Some(0), "kept until an operator decides");
    }

    #[test]
    fn messages_of_one_aggregate_never_overtake_nor_share_a_round() {
        let messages: Vec<Outgoing> = [(1, "a"), (2, "b"), (3, ""), (4, "h"), (5, "c"), (6, "a"), (7, "d")]
            .map(|(n, a)| fresh(n, a))
            .into();
        let held = ["user h".to_owned()].into();
        let seqs =
            |chunk: &DeliveryChunk| chunk.send.iter().map(|message| message.row.seq).collect::<Vec<_>>();
        let first = next_chunk(&messages, &held, 4);
        assert_eq!(
            (first.taken, seqs(&first), first.behind.iter().map(|held| held.seq).collect()),
            (5, vec![1, 2, 5], vec![4])
        );
        let second = next_chunk(&messages[5..], &held, 4);
        assert_eq!((second.taken, seqs(&second)), (2, vec![6, 7]));
        let narrow = next_chunk(&messages, &held, 1);
        assert_eq!((narrow.taken, seqs(&narrow)), (1, vec![1]));
    }

    #[test]
    fn an_endpoint_that_takes_nothing_is_left_alone_for_a_while() {
        let state = |failures| SinkState { failures, ..SinkState::default() };
        let pace = |delivered: &[u64], failed: Vec<(u64, u64, SinkError)>, failures| {
            let round = Round { delivered: delivered.to_vec(), failed, ..Round::default() };
            round
                .result(&schedule(), &state(failures), 0)
                .pace
                .map(|pace| (pace.failures, pace.pause.as_secs(), pace.is_back, pace.last_error.is_some()))
        };
        let paused = |failures, seconds, is_back| Some((failures, seconds, is_back, failures > 0));
        assert_eq!(pace(&[1], vec![], 0), None);
        assert_eq!(pace(&[], vec![(1, 0, answered(500, None))], 0), paused(1, 5, false));
        assert_eq!(pace(&[], vec![(1, 0, answered(500, None))], 7), paused(8, 300, false));
        assert_eq!(pace(&[], vec![(1, 0, answered(429, Some(900)))], 0), paused(1, 900, false));
        assert_eq!(pace(&[], vec![(1, 0, answered(503, Some(86_400)))], 0), paused(1, 3_600, false));
        assert_eq!(pace(&[2], vec![(1, 0, answered(500, None))], 0), None);
        assert_eq!(pace(&[2], vec![(1, 0, answered(429, Some(9)))], 0), paused(0, 9, false));
        assert_eq!(pace(&[1], vec![], 1), paused(0, 0, false));
        assert_eq!(pace(&[1], vec![], 2), paused(0, 0, true));
        assert_eq!(pace(&[], vec![(1, 0, too_large())], 0), None, "it was not asked");
        let round = Round { failed: vec![(1, 0, answered(410, None))], ..Round::default() };
        let gone = round.result(&schedule(), &state(0), 0).pace.and_then(|pace| pace.disabled);
        assert_eq!(gone.as_deref(), Some("webhook at h answered 410"));
    }

    #[test]
    fn an_endpoint_that_refuses_all_is_tried_twice_a_minute() {
        let refuse = |refused, count| {
            let failed = (1..=count).map(|seq| (seq, 0, answered(404, None))).collect();
            let round = Round { failed, ..Round::default() };
            let pace = round.result(&schedule(), &SinkState::default(), refused).pace.expect("a pace");
            (round.is_over(), pace.pause.as_secs(), pace.failures, pace.last_error)
        };
        let error = Some("webhook at h answered 404; is the path of its url right?".to_owned());
        assert_eq!(refuse(0, 1), (false, 0, 0, error.clone()), "the others are tried at once");
        assert_eq!(refuse(0, 20), (true, 1, 0, error.clone()), "not all of them are given up");
        assert_eq!([18, 19, 40, 60, 400].map(|refused| refuse(refused, 1).1), [0, 1, 2, 4, 30]);
        let state = SinkState { last_error: error, ..SinkState::default() };
        let recovered = Round { delivered: vec![1], ..Round::default() }.result(&schedule(), &state, 9).pace;
        assert_eq!(recovered, Some(SinkPacing::default()));
        assert_eq!(Round::default().result(&schedule(), &state, 9).pace, None, "nothing was delivered");
    }

    fn too_large() -> SinkError {
        SinkError::TooLarge { sink: "webhook", host: "h".to_owned(), bytes: 2, limit: 1 }
    }

    #[test]
    fn types_are_wanted_by_name_or_by_family() {
        assert!(
            fits("stake.*", "stake.staked") && fits("user.activated", "user.activated") && fits("*", "a.b")
        );
        assert!(!fits("stake.*", "user.activated") && !fits("user", "user.activated"));
    }
}
