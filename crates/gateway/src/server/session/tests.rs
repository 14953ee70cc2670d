use super::super::testing::FedStream;
use super::*;
use serde_json::Value;

fn session(stream: &FedStream, known: Known) -> Session {
    Session::new(&stream.feed, known, CancellationToken::new())
}

fn rooms(names: &[&str]) -> Vec<Room> {
    names.iter().map(|name| Room::parse(name).expect("a room")).collect()
}

/// Number and order of each message that waits; `true` reads what is missed too.
async fn taken(session: &mut Session, resumes: bool) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    loop {
        while let Some(arrival) = session.ready() {
            let Arrival::Message(delivery) = arrival else { panic!("{arrival:?}") };
            let message: Value = serde_json::from_str(&delivery.entry.json).expect("JSON");
            found.push((delivery.entry.seq, message["aggregateId"].as_str().expect("a text").to_owned()));
        }
        if !resumes || !session.is_resuming() {
            return found;
        }
        session.resume().await.expect("reads");
    }
}

/// Messages of the two orders in turn, more than a page of each.
const MANY: usize = 1_400;

fn in_turn(count: usize) -> Vec<&'static str> {
    ["a", "b"].into_iter().cycle().take(count).collect()
}

fn expected(range: std::ops::RangeInclusive<u64>, orders: &[&str]) -> Vec<(u64, String)> {
    let order = |seq: u64| if seq.is_multiple_of(2) { "b" } else { "a" };
    let all = range.map(|seq| (seq, order(seq).to_owned()));
    all.filter(|(_, order)| orders.contains(&order.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_resume_one_after_the_other_end_in_one_order() {
    for hot_bytes in [0, 64 << 20] {
        let stream = FedStream::new(hot_bytes).await;
        stream.publish(&in_turn(MANY)).await;
        let mut session = session(&stream, Known::ByEvent);
        session.join(rooms(&["order-a"]), Some(stream.at(0))).await.expect("joins");
        session.resume().await.expect("reads");
        let before = taken(&mut session, false).await;
        // The second join comes when the first resume has begun, or has ended.
        let joined = session.join(rooms(&["order-b"]), Some(stream.at(0))).await.expect("joins");
        assert!(joined.recovered);
        session.resume().await.expect("reads");
        stream.publish(&in_turn(4)).await;
        let after = taken(&mut session, true).await;
        let (last, end) = (before.last().expect("a page").0, MANY as u64 + 4);
        assert_eq!(before, expected(1..=last, &["a"]));
        // What came before the join does not come again; everything else is in the order of a client that joined both at once.
        let mut wanted = expected(1..=last, &["b"]);
        wanted.extend(expected(last + 1..=end, &["a", "b"]));
        assert_eq!(after, wanted);
        stream.publish(&in_turn(2)).await;
        assert_eq!(taken(&mut session, false).await, expected(end + 1..=end + 2, &["a", "b"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_rooms_wait_while_another_resumes() {
    let stream = FedStream::new(0).await;
    stream.publish(&in_turn(MANY)).await;
    let mut session = session(&stream, Known::ByEvent);
    session.join(rooms(&["order-a"]), None).await.expect("joins");
    stream.publish(&in_turn(2)).await;
    session.join(rooms(&["order-b"]), Some(stream.at(0))).await.expect("joins");
    let (first, end) = (MANY as u64 + 1, MANY as u64 + 4);
    assert_eq!(taken(&mut session, false).await, expected(first..=first + 1, &["a"]), "it waited already");
    session.resume().await.expect("reads");
    stream.publish(&in_turn(2)).await;
    let mut wanted = expected(1..=first + 1, &["b"]);
    wanted.extend(expected(first + 2..=end, &["a", "b"]));
    assert_eq!(taken(&mut session, true).await, wanted);
    // A position that was given is true of both rooms, so none is lost by a client that comes back with it.
    assert!(session.settled().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_room_that_goes_back_has_its_messages_in_order() {
    for (live, first) in [(&["order-a"][..], vec![]), (&["order-a", "order-b"], expected(6..=6, &["b"]))] {
        let stream = FedStream::new(64 << 20).await;
        stream.publish(&in_turn(4)).await;
        let mut session = session(&stream, Known::ByRoom);
        session.join(rooms(live), None).await.expect("joins");
        stream.publish(&in_turn(2)).await;
        let joined = session.join(rooms(&["order-a"]), Some(stream.at(2))).await.expect("joins");
        assert_eq!(joined.position, stream.at(6));
        let wanted = [first, expected(3..=6, &["a"])].concat();
        assert_eq!(taken(&mut session, true).await, wanted, "{live:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_joined_for_now_waits_for_those_that_resume() {
    let stream = FedStream::new(0).await;
    stream.publish(&in_turn(MANY)).await;
    let mut session = session(&stream, Known::ByEvent);
    session.join(rooms(&["order-a"]), Some(stream.at(0))).await.expect("joins");
    session.resume().await.expect("reads");
    let joined = session.join(rooms(&["order-b"]), None).await.expect("joins");
    assert_eq!(joined.position, stream.at(MANY as u64));
    stream.publish(&in_turn(4)).await;
    let mut wanted = expected(1..=MANY as u64, &["a"]);
    wanted.extend(expected(MANY as u64 + 1..=MANY as u64 + 4, &["a", "b"]));
    assert_eq!(taken(&mut session, true).await, wanted);
    // A room that is left while others are read is not read any more.
    session.join(rooms(&["order-a", "order-b"]), Some(stream.at(0))).await.expect("joins");
    session.leave(&rooms(&["order-b"]));
    assert_eq!(taken(&mut session, true).await, expected(1..=MANY as u64 + 4, &["a"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_room_comes_after_it_was_left() {
    let stream = FedStream::new(64 << 20).await;
    stream.publish(&in_turn(4)).await;
    let mut session = session(&stream, Known::ByRoom);
    session.join(rooms(&["order-a", "order-b"]), Some(stream.at(0))).await.expect("joins");
    // A page was read, and is not handed out yet.
    session.resume().await.expect("reads");
    session.leave(&rooms(&["order-b"]));
    assert_eq!(taken(&mut session, true).await, expected(1..=4, &["a"]));
    // Live messages wait.
    stream.publish(&in_turn(2)).await;
    session.leave(&rooms(&["order-a"]));
    assert_eq!(taken(&mut session, true).await, Vec::new());
    assert_eq!(session.rooms().count(), 0);
}
