//! Decides whether a sink holds messages of this database's history, from the streams of the sink and the outbox.
//!
//! Read the streams first and the outbox after. A message is in the outbox before it is in a stream. So a message that
//! is in a stream, but not in a later read of the outbox, was sent by another database, or by this one before it lost
//! commits.

use crate::sink::{Stream, StreamEntry};
use chainflume_outbox::Lineage;

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// All messages belong to this database, and none up to this number is missing.
    Ours(u64),
    /// One stream holds messages that this database never sent: its type, and the evidence.
    Foreign(String),
}

/// The stored position of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to here was delivered.
    pub seq: u64,
    /// Whether nothing was ever delivered.
    pub is_new: bool,
}

/// Compares the streams of a sink with the outbox.
pub fn judge(streams: &[Stream], lineage: &Lineage, cursor: Cursor) -> Ownership {
    if let Some(reason) = streams.iter().find_map(|stream| foreign(stream, lineage, cursor)) {
        return Ownership::Foreign(reason);
    }
    // Entries of a stream are written in order, so a sink loses a tail or everything, never the middle.
    let lost = |stream: &Stream| {
        let end = lineage.ends.get(&stream.aggregate_type).copied().unwrap_or(0);
        (stream.top < end).then_some(stream.top)
    };
    Ownership::Ours(streams.iter().filter_map(lost).min().unwrap_or(cursor.seq).min(cursor.seq))
}

/// The evidence that a stream is not of this history; `None` if it is.
pub fn foreign(stream: &Stream, lineage: &Lineage, cursor: Cursor) -> Option<String> {
    let Stream { name, top, newest, .. } = stream;
    if *top == 0 || is_adopted(stream, lineage) {
        return None;
    }
    if *top > lineage.last {
        let last = lineage.last;
        return Some(format!("{name} ends at {top}, and {last} is the newest number of this database"));
    }
    let newest = newest.as_ref().filter(|entry| entry.seq == *top);
    match newest.and_then(|entry| Some((entry, entry.epoch.as_deref().filter(|epoch| *epoch != "0")?))) {
        Some((_, epoch)) => match lineage.last_of(epoch) {
            None => Some(format!(
                "{name} ends with an entry of epoch {epoch}, which is not in the history of this database"
            )),
            Some(last) if *top > last => Some(format!(
                "{name} ends at {top} of the epoch {epoch}, of which this database has no number above {last}: it was \
                 restored to an older state, or lost commits"
            )),
            Some(_) => newest.and_then(|entry| differs(stream, entry, lineage)),
        },
        None => match newest {
            Some(entry) if lineage.kept.contains_key(top) || *top >= lineage.first => {
                differs(stream, entry, lineage)
            }
            _ => unproven(stream, lineage, cursor),
        },
    }
}

/// The evidence that the entry is not the stored message of its number; `None` if it is, or if that message was
/// deleted.
fn differs(stream: &Stream, entry: &StreamEntry, lineage: &Lineage) -> Option<String> {
    let is_ours = match lineage.kept.get(&entry.seq) {
        Some((aggregate_type, json)) => *aggregate_type == stream.aggregate_type && *json == entry.json,
        None => entry.seq < lineage.first,
    };
    let (name, seq) = (&stream.name, entry.seq);
    (!is_ours).then(|| format!("{name} has another message at {seq} than this database"))
}

/// The decision with only a number as evidence. A database that never delivered to the stream, or that was restored
/// since, cannot prove that the stream is its own.
fn unproven(stream: &Stream, lineage: &Lineage, cursor: Cursor) -> Option<String> {
    let Stream { name, top, aggregate_type, .. } = stream;
    if cursor.is_new {
        return Some(format!("{name} ends at {top}, and this database never delivered anything there"));
    }
    let kept = lineage.kept.get(top).map(|(kept, _)| kept);
    let is_another =
        kept.is_some_and(|kept| kept != aggregate_type) || (kept.is_none() && *top >= lineage.first);
    let is_beyond = *top > cursor.seq && lineage.breaks_between(cursor.seq, *top);
    (is_another || is_beyond)
        .then(|| format!("{name} ends at {top}, and this database cannot have delivered that number there"))
}

/// Whether an operator adopted the end of the stream, or an earlier entry, as part of this history.
fn is_adopted(stream: &Stream, lineage: &Lineage) -> bool {
    let epoch = |stream: &Stream| {
        stream.newest.as_ref().filter(|entry| entry.seq == stream.top).and_then(|entry| entry.epoch.clone())
    };
    let adopted = lineage.adopted.get(&stream.aggregate_type);
    adopted.is_some_and(|adopted| stream.top <= adopted.seq && adopted.epoch == epoch(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_outbox::{Adopted, OutboxEpoch};

    const STARTED: Cursor = Cursor { seq: 95, is_new: false };

    /// Ours: epoch a up to 100, epoch b up to 120; messages from 60 on are kept, all of them about tokens.
    fn lineage() -> Lineage {
        let epoch = |epoch: &str, after, first| OutboxEpoch { epoch: epoch.to_owned(), after, first };
        let kept = [60, 80, 95, 100, 101, 110, 120].map(|seq| (seq, ("token".to_owned(), json(seq))));
        Lineage {
            last: 120,
            first: 60,
            epochs: vec![epoch("0", 0, 1), epoch("a", 50, 51), epoch("b", 100, 101)],
            ends: [("token".to_owned(), 95)].into(),
            kept: kept.into(),
            adopted: std::collections::BTreeMap::new(),
        }
    }

    fn json(seq: u64) -> String {
        format!("{{\"seq\":{seq}}}")
    }

    fn stream(top: u64, epoch: &str) -> Stream {
        let epoch = Some(epoch.to_owned()).filter(|epoch| !epoch.is_empty());
        let newest = Some(StreamEntry { seq: top, epoch, json: json(top) });
        Stream { aggregate_type: "token".to_owned(), name: "events:token".to_owned(), top, newest }
    }

    fn is_foreign(stream: &Stream, cursor: Cursor) -> bool {
        matches!(judge(std::slice::from_ref(stream), &lineage(), cursor), Ownership::Foreign(_))
    }

    #[test]
    fn a_stream_is_ours_as_far_as_its_epoch_is() {
        let ours = |top, epoch| !is_foreign(&stream(top, epoch), STARTED);
        assert!(ours(95, "a") && ours(100, "a") && ours(101, "b") && ours(120, "b"));
        assert!(ours(55, "a"), "trimmed since, and the epoch is known");
        assert!(!ours(101, "a"), "a number the epoch lost");
        assert!(!ours(121, "b"), "a number of no message");
        assert!(!ours(95, "c"), "an unknown epoch");
    }

    #[test]
    fn another_message_at_the_same_number_is_foreign() {
        let mut other = stream(110, "b");
        other.newest = Some(StreamEntry { json: "{}".to_owned(), ..other.newest.expect("one") });
        assert!(is_foreign(&other, STARTED));
        let other = Stream { aggregate_type: "nft".to_owned(), ..stream(110, "b") };
        assert!(is_foreign(&other, STARTED), "the number is a token's");
    }

    #[test]
    fn a_stream_without_epochs_is_ours_when_its_newest_entry_is() {
        for epoch in ["", "0"] {
            assert!(!is_foreign(&stream(95, epoch), STARTED));
            assert!(!is_foreign(&stream(95, epoch), Cursor { seq: 0, is_new: true }), "the entry proves it");
            assert!(!is_foreign(&stream(40, epoch), STARTED), "trimmed, and delivered by us");
            assert!(is_foreign(&stream(40, epoch), Cursor { seq: 0, is_new: true }), "we delivered nothing");
            assert!(is_foreign(&stream(96, epoch), STARTED), "no message of that number there");
            assert!(is_foreign(&stream(130, epoch), STARTED));
        }
        let mut other = stream(95, "");
        other.newest = Some(StreamEntry { json: "{}".to_owned(), ..other.newest.expect("one") });
        assert!(is_foreign(&other, STARTED));
    }

    #[test]
    fn a_stream_whose_entries_were_deleted_is_judged_by_its_number() {
        let bare = |top| Stream { newest: None, ..stream(top, "") };
        assert!(!is_foreign(&bare(95), STARTED) && !is_foreign(&bare(100), STARTED));
        assert!(
            is_foreign(&bare(110), STARTED),
            "an epoch began in between, so the number may be of another history"
        );
        assert!(!is_foreign(&bare(110), Cursor { seq: 110, is_new: false }));
        assert!(is_foreign(&bare(95), Cursor { seq: 0, is_new: true }));
    }

    #[test]
    fn missing_entries_are_sent_again_up_to_what_the_stream_had() {
        let from = |streams: &[Stream]| judge(streams, &lineage(), STARTED);
        let empty = Stream { top: 0, newest: None, ..stream(0, "") };
        assert_eq!(from(&[stream(95, "a")]), Ownership::Ours(95));
        assert_eq!(from(&[stream(80, "a")]), Ownership::Ours(80), "a tail is lost");
        assert_eq!(from(std::slice::from_ref(&empty)), Ownership::Ours(0), "all is lost");
        assert_eq!(from(&[Stream { aggregate_type: "nft".to_owned(), ..empty }]), Ownership::Ours(95));
        assert_eq!(from(&[]), Ownership::Ours(95));
    }

    #[test]
    fn what_was_adopted_is_ours_up_to_where_it_was_adopted() {
        let mut lineage = lineage();
        let adopted = |seq, epoch: Option<&str>| Adopted {
            aggregate_type: "token".to_owned(),
            seq,
            epoch: epoch.map(str::to_owned),
        };
        lineage.adopted.insert("token".to_owned(), adopted(150, Some("c")));
        let is_foreign = |top, epoch: &str| foreign(&stream(top, epoch), &lineage, STARTED).is_some();
        assert!(!is_foreign(150, "c") && !is_foreign(140, "c"));
        assert!(is_foreign(151, "c") && is_foreign(150, "d") && is_foreign(150, ""));
    }
}
