use std::collections::BTreeMap;

use ::redis::{ErrorKind, RedisError};

use super::Settings;
use super::layout::{Appended, ExpectedEnd, StreamEnd, StreamLayout};
use super::route::Route;
use crate::sink::{SinkError, Stream};
use chainflume_core::domain::Envelope;

/// Maximum number of messages in one script. The server answers no other client while a script runs; this many take a
/// millisecond or two.
const LOAD_MESSAGES: usize = 100;
/// Maximum size of the messages in one script in bytes, for the same reason. One larger message gets a script of its
/// own.
const LOAD_BYTES: usize = 256 << 10;

/// Writes the streams of one server.
///
/// Loads are sent in sequence without waiting for answers. This is safe: each load names the expected end of its
/// streams, so the server refuses every load after a failed one.
#[derive(Debug)]
pub(super) struct StreamWriter {
    route: Route,
    /// The last known end of each of its streams, by aggregate type.
    held: BTreeMap<String, StreamEnd>,
}

/// The result of a stream writer's share of a batch.
#[derive(Debug, Default)]
pub(super) struct WriteOutcome {
    /// Number of messages that the stream already had.
    pub(super) repeats: Vec<u64>,
    /// The first number whose delivery is uncertain, and the reason.
    pub(super) failed: Option<(u64, SinkError)>,
}

impl StreamWriter {
    pub(super) fn new(settings: &Settings, types: &[String]) -> Result<Self, SinkError> {
        let held = types.iter().map(|name| (name.clone(), StreamEnd::default())).collect();
        Ok(Self { route: Route::new(settings)?, held })
    }

    /// The connected server, if any.
    pub(super) fn host(&self) -> Option<String> {
        self.route.host()
    }

    /// Adds a stream, which is read from now on.
    pub(super) fn follow(&mut self, aggregate_type: &str) {
        if !self.held.contains_key(aggregate_type) {
            self.held.insert(aggregate_type.to_owned(), StreamEnd::default());
        }
    }

    /// The present ends of its streams.
    pub(super) async fn look(&mut self, layout: &StreamLayout) -> Result<Vec<Stream>, SinkError> {
        // The script only reads the ends, so it expects empty streams and appends nothing.
        let streams: Vec<ExpectedEnd> =
            self.held.keys().map(|name| (name.clone(), StreamEnd::default())).collect();
        let Appended { ends, entries, .. } =
            self.run(layout, &layout.append(&streams, &[]), &streams).await?;
        let mut found = Vec::with_capacity(streams.len());
        for (((aggregate_type, _), end), newest) in streams.into_iter().zip(ends).zip(entries) {
            let name = layout.stream(&aggregate_type);
            found.push(Stream { aggregate_type: aggregate_type.clone(), name, top: end.top, newest });
            self.held.insert(aggregate_type, end);
        }
        Ok(found)
    }

    /// Deletes those of its streams that exist; the user needs the right to.
    pub(super) async fn remove(&mut self, layout: &StreamLayout) -> Result<(), SinkError> {
        for stream in self.look(layout).await?.into_iter().filter(|stream| stream.top > 0) {
            let mut command = ::redis::cmd("DEL");
            command.arg(&stream.name);
            if let (_, Some(error)) = self.route.ask(&[command]).await {
                return Err(error);
            }
            self.held.insert(stream.aggregate_type, StreamEnd::default());
        }
        Ok(())
    }

    async fn run(
        &mut self,
        layout: &StreamLayout,
        command: &::redis::Cmd,
        streams: &[ExpectedEnd],
    ) -> Result<Appended, SinkError> {
        let (mut answers, error) = self.route.ask(std::slice::from_ref(command)).await;
        if let Some(error) = error {
            return Err(error);
        }
        let answer = answers.pop().unwrap_or(::redis::Value::Nil);
        layout.read(answer, streams, |error| self.route.explain(error))
    }

    pub(super) async fn deliver(&mut self, layout: &StreamLayout, share: &[&Envelope]) -> WriteOutcome {
        let loads = cut(share);
        let mut expected = self.held.clone();
        let mut streams = Vec::with_capacity(loads.len());
        let mut commands = Vec::with_capacity(loads.len());
        for load in &loads {
            let held = held(load, &expected);
            commands.push(layout.append(&held, load));
            streams.push(held);
            for envelope in *load {
                let end = expected.entry(envelope.aggregate_type.clone()).or_default();
                if envelope.seq > end.top {
                    *end = StreamEnd { top: envelope.seq, epoch: envelope.epoch.clone() };
                }
            }
        }
        let (answers, mut error) = self.route.ask(&commands).await;
        let mut outcome = WriteOutcome::default();
        let mut there = 0;
        for (answer, streams) in answers.into_iter().zip(&streams) {
            match layout.read(answer, streams, |error| self.route.explain(error)) {
                Ok(appended) => outcome.repeats.extend(self.took(streams, appended)),
                Err(refused) => {
                    error = Some(refused);
                    break;
                }
            }
            there += 1;
        }
        let unanswered =
            || RedisError::from((ErrorKind::UnexpectedReturnType, "fewer answers than requests"));
        // Not `zip`: a load with neither answer nor error must not count as delivered.
        outcome.failed = loads
            .get(there)
            .and_then(|load| load.first())
            .map(|first| (first.seq, error.unwrap_or_else(|| self.route.explain(&unanswered()))));
        outcome
    }

    fn took(&mut self, streams: &[ExpectedEnd], appended: Appended) -> Vec<u64> {
        for ((name, _), end) in streams.iter().zip(appended.ends) {
            self.held.insert(name.clone(), end);
        }
        appended.repeats
    }
}

/// The streams of a load and the end that each must have.
fn held(load: &[&Envelope], expected: &BTreeMap<String, StreamEnd>) -> Vec<ExpectedEnd> {
    let mut streams: Vec<ExpectedEnd> = Vec::new();
    for envelope in load {
        let name = &envelope.aggregate_type;
        if !streams.iter().any(|(known, _)| known == name) {
            streams.push((name.clone(), expected.get(name).cloned().unwrap_or_default()));
        }
    }
    streams
}

/// Splits messages into loads of a bounded size, in order.
fn cut<'a, 'b>(share: &'a [&'b Envelope]) -> Vec<&'a [&'b Envelope]> {
    let mut loads = Vec::new();
    let mut rest = share;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |envelope: &&&Envelope| {
            bytes += envelope.json.len();
            bytes <= LOAD_BYTES
        };
        let count = rest.iter().take(LOAD_MESSAGES).take_while(fits).count().max(1);
        let (load, after) = rest.split_at(count);
        loads.push(load);
        rest = after;
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_core::domain::MessageState;

    fn envelope(seq: u64, bytes: usize) -> Envelope {
        Envelope {
            seq,
            epoch: "a".to_owned(),
            aggregate_type: "token".to_owned(),
            message_type: String::new(),
            state: MessageState::Confirmed,
            user_id: None,
            counterparty_user_id: None,
            json: "x".repeat(bytes),
        }
    }

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        let envelopes: Vec<Envelope> = (1..).zip(bytes).map(|(seq, bytes)| envelope(seq, *bytes)).collect();
        let share: Vec<&Envelope> = envelopes.iter().collect();
        let loads = cut(&share);
        let numbers: Vec<u64> = loads.iter().flat_map(|load| load.iter().map(|one| one.seq)).collect();
        assert_eq!(numbers, (1..=bytes.len() as u64).collect::<Vec<_>>(), "all of them, in order");
        loads.iter().map(|load| load.len()).collect()
    }

    #[test]
    fn a_load_is_bounded_by_count_and_by_bytes_and_never_empty() {
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[10; 250]), [100, 100, 50]);
        assert_eq!(sizes(&[LOAD_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(sizes(&[1, LOAD_BYTES * 2, LOAD_BYTES * 2, 1]), [1, 1, 1, 1]);
    }
}
