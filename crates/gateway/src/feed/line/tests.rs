use std::sync::Mutex as StdMutex;

use super::*;
use crate::push::Row;
use chainflume_outbox::Position;
use futures_util::FutureExt as _;

fn delivery(seq: u64) -> Delivery {
    let json = format!("{{\"type\":\"a.b\",\"seq\":{seq},\"state\":\"confirmed\"}}");
    let entry = Arc::new(Entry::new(Row::new(seq, "e".to_owned(), json), &[]));
    Delivery { entry, rooms: vec![0], is_live: true, share: None }
}

/// Keeps what it is sent, and returns the configured results.
#[derive(Clone)]
struct Sink {
    sent: Arc<StdMutex<Vec<u64>>>,
    answer: Arc<StdMutex<Sent>>,
}

impl Default for Sink {
    fn default() -> Self {
        Self { sent: Arc::default(), answer: Arc::new(StdMutex::new(Sent::All)) }
    }
}

impl DirectSink for Sink {
    fn send(&self, deliveries: &[Delivery]) -> Sent {
        let answer = *self.answer.lock().expect("an answer");
        let taken = if let Sent::Only(taken) = answer { taken } else { deliveries.len() };
        let taken = deliveries.iter().take(taken).map(|delivery| delivery.entry.seq);
        self.sent.lock().expect("sent").extend(taken);
        answer
    }
}

impl Sink {
    fn answers(&self, answer: Sent) {
        *self.answer.lock().expect("an answer") = answer;
    }

    fn sent(&self) -> Vec<u64> {
        self.sent.lock().expect("sent").clone()
    }
}

fn line() -> (Arc<Line>, Sink) {
    let (line, sink) = (Arc::new(Line::new(1 << 20, CancellationToken::new())), Sink::default());
    line.write_by(Box::new(sink.clone()));
    (line, sink)
}

fn seq(arrival: Arrival) -> u64 {
    match arrival {
        Arrival::Message(delivery) => delivery.entry.seq,
        other => panic!("no message: {other:?}"),
    }
}

#[tokio::test]
async fn sink_writes_only_while_the_task_waits() {
    let (line, sink) = line();
    assert!(line.push(delivery(1)));
    assert!(!line.push(delivery(2)), "the flush of the first is for both");
    line.flush();
    assert_eq!((seq(line.next().await), seq(line.next().await), sink.sent()), (1, 2, vec![]));

    let waiting = tokio::spawn({
        let line = line.clone();
        async move { line.next().await }
    });
    tokio::task::yield_now().await;
    for number in 3..5 {
        assert!(line.push(delivery(number)));
        line.flush();
    }
    assert_eq!(sink.sent(), [3, 4]);
    assert!(!waiting.is_finished(), "the task goes on waiting");
    waiting.abort();
    let _aborted = waiting.await;
    line.push(delivery(5));
    line.flush();
    assert_eq!((sink.sent(), line.try_next().map(seq)), (vec![3, 4], Some(5)), "it waits no more");
}

#[tokio::test]
async fn full_sink_leaves_the_rest_to_the_task() {
    let (line, sink) = line();
    sink.answers(Sent::Unflushed);
    let mut waiting = Box::pin(line.next());
    assert!(waiting.as_mut().now_or_never().is_none());
    line.push(delivery(1));
    line.flush();
    line.push(delivery(2));
    line.flush();
    assert_eq!(sink.sent(), [1], "the second has to wait for what is left of the first");
    assert!(matches!(waiting.await, Arrival::Unflushed));
    assert_eq!((seq(line.next().await), sink.sent()), (2, vec![1]));
}

#[tokio::test]
async fn what_the_sink_does_not_take_comes_to_the_task_in_order() {
    let (line, sink) = line();
    sink.answers(Sent::Only(1));
    let mut waiting = Box::pin(line.next());
    assert!(waiting.as_mut().now_or_never().is_none());
    (1..=3).for_each(|number| _ = line.push(delivery(number)));
    line.flush();
    line.push(delivery(4));
    line.flush();
    assert_eq!((seq(waiting.await), sink.sent()), (2, vec![1]));
    assert_eq!((seq(line.next().await), seq(line.next().await)), (3, 4));
    assert_eq!(line.queue().bytes, 0);
}

#[tokio::test]
async fn gap_and_overflow_are_for_the_task_alone() {
    let (line, sink) = line();
    let mut waiting = Box::pin(line.next());
    assert!(waiting.as_mut().now_or_never().is_none());
    let position = |seq| Position { seq, epoch: None };
    let gap = Gap { from: position(1), to: position(2), reason: super::super::gap::Reason::Retention };
    line.push_gap(gap);
    line.push(delivery(3));
    line.flush();
    assert!(matches!(waiting.await, Arrival::Gap(_)));
    assert_eq!((seq(line.next().await), sink.sent()), (3, vec![]));

    let (small, sink) = (Line::new(1, CancellationToken::new()), Sink::default());
    small.write_by(Box::new(sink.clone()));
    let mut waiting = Box::pin(small.next());
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(small.push(delivery(1)) && !small.push(delivery(2)));
    small.flush();
    assert!(matches!(waiting.await, Arrival::TooSlow));
    assert_eq!(sink.sent(), [0; 0]);
}
