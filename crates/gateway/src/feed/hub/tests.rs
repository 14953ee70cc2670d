use tokio_util::sync::CancellationToken;

use super::super::line::Arrival;
use super::super::outlet::Outlet;
use super::*;
use crate::push::Row;

fn position(seq: u64) -> Position {
    Position { seq, epoch: Some("e".to_owned()) }
}

/// The place after a message of the first history.
fn after(seq: u64) -> FeedPlace {
    FeedPlace { position: position(seq), history: 0 }
}

fn entry(seq: u64, message_type: &str) -> Arc<Entry> {
    let json = format!(
        "{{\"type\":\"{message_type}\",\"seq\":{seq},\"state\":\"confirmed\",\"metadata\":{{\"chainId\":1}}}}"
    );
    Arc::new(Entry::new(Row::new(seq, "e".to_owned(), json), &[]))
}

fn room(name: &str) -> Room {
    Room::parse(name).expect("a room")
}

fn outlet(hub: &Arc<Hub>, limit: usize) -> (Outlet, CancellationToken) {
    let cut = CancellationToken::new();
    (Outlet::new(hub.clone(), limit, cut.clone()), cut)
}

fn seqs(outlet: &Outlet) -> Vec<u64> {
    let next = || match outlet.try_next() {
        Some(Arrival::Message(delivery)) => Some(delivery.entry.seq),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_client_gets_the_messages_of_its_rooms_from_join_to_leave() {
    let hub = Arc::new(Hub::new(position(10), 1 << 20));
    let ((one, _), (two, _)) = (outlet(&hub, 1 << 20), outlet(&hub, 1 << 20));
    assert_eq!(one.join(&[room("type-a.b")]), position(10));
    let _lines = hub.publish(vec![entry(11, "a.b"), entry(12, "a.c")]);
    assert_eq!(two.join(&[room("all"), room("type-a.b")]), position(12));
    let _lines = hub.publish(vec![entry(13, "a.b")]);
    one.leave(&[room("type-a.b")]);
    let _lines = hub.publish(vec![entry(14, "a.b")]);
    assert_eq!((seqs(&one), seqs(&two)), (vec![11, 13], vec![13, 14]));
    drop((one, two));
    let state = hub.state();
    assert!(state.rooms.is_empty() && state.lines.is_empty(), "who is gone leaves nothing behind");
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_at_its_limit_alone() {
    let hub = Arc::new(Hub::new(position(0), 1 << 20));
    let ((slow, cut), (fast, _)) = (outlet(&hub, 500), outlet(&hub, 500));
    slow.join(&[room("all")]);
    fast.join(&[room("all")]);
    for seq in 1..=50 {
        let _lines = hub.publish(vec![entry(seq, "a.b")]);
        assert_eq!(seqs(&fast), [seq]);
    }
    assert!(cut.is_cancelled() && matches!(slow.try_next(), Some(Arrival::TooSlow)));
}

#[test]
fn a_client_joins_at_its_position_only_if_nothing_is_newer() {
    let hub = Arc::new(Hub::new(position(5), 1 << 20));
    let (outlet, _) = outlet(&hub, 1 << 20);
    let _lines = hub.publish(vec![entry(6, "a.b")]);
    assert!(!outlet.join_at(&[room("all")], &after(5)));
    assert!(outlet.join_at(&[room("all")], &after(6)));
    let _lines = hub.publish(vec![entry(7, "a.b")]);
    assert_eq!(seqs(&outlet), [7]);
}

#[test]
fn what_is_kept_is_bounded_in_bytes_and_what_is_older_is_cold() {
    let hub = Hub::new(position(0), 4_000);
    let _lines = hub.publish((1..=100).map(|seq| entry(seq, "a.b")));
    let all = |entry: &Entry| entry.rooms_where(|_| true);
    let first = {
        let state = hub.state();
        assert!(state.hot_bytes <= 4_000 && state.hot.len() > 2);
        state.hot[0].seq
    };
    assert!(matches!(hub.after(&after(first - 2), all), Hot::Cold));
    let Hot::Page(found, next) = hub.after(&after(first), all) else { panic!("it is in memory") };
    assert_eq!((found.len() as u64, next), (100 - first, position(100)));
    assert!(hub.knows(&position(100)) && hub.knows(&position(first)) && !hub.knows(&position(1)));
    assert!(!hub.knows(&Position { seq: first, epoch: Some("f".to_owned()) }));
    let at = |seq, epoch: &str| hub.message_at(&Position { seq, epoch: Some(epoch.to_owned()) });
    assert_eq!(at(first, "e").map(|entry| entry.seq), Some(first));
    assert!(at(first, "f").is_none() && at(first - 1, "e").is_none() && at(101, "e").is_none());
}

#[test]
fn a_history_that_changes_is_a_gap_for_every_client() {
    let hub = Arc::new(Hub::new(position(5), 1 << 20));
    let (outlet, _) = outlet(&hub, 1 << 20);
    outlet.join(&[room("all")]);
    let newest = Position { seq: 2, epoch: Some("f".to_owned()) };
    hub.reset(newest.clone(), Reason::Epoch);
    let Some(Arrival::Gap(gap)) = outlet.try_next() else { panic!("a gap") };
    assert_eq!(gap, Gap { from: position(5), to: newest, reason: Reason::Epoch });
    assert!(matches!(hub.after(&after(5), |_| Vec::new()), Hot::Elsewhere(Reason::Epoch)));
    let _lines = hub.publish(vec![entry(3, "a.b")]);
    assert_eq!(seqs(&outlet), [3]);
}
