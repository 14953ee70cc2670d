use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct House {
    board: Board,
    stop: CancellationToken,
    supervisor: Supervisor,
}

fn house() -> House {
    let (board, stop) = (Board::default(), CancellationToken::new());
    let supervisor = Supervisor::new(&board, &stop);
    House { board, stop, supervisor }
}

const HANG_TIMEOUT: Duration = Duration::from_secs(30);

fn this() -> Loop {
    Loop::new("probe", HANG_TIMEOUT)
}

impl House {
    fn troubles(&self) -> Vec<String> {
        self.board.loops()["probe"].troubles()
    }
}

/// Waits until `is` holds, for twice the longest pause at most.
async fn until(is: impl Fn() -> bool) {
    let poll = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONGEST * 2, poll).await.expect("it never is");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_or_returns_is_red_and_starts_again() {
    for how in ["panicked", "returned"] {
        let house = house();
        let runs = Arc::new(AtomicU32::new(0));
        let (counted, red) = (runs.clone(), format!("{how} and is started again"));
        let kept = house.supervisor.keep(this(), house.stop.clone(), move |heartbeat| {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            let is_panic = how == "panicked";
            async move {
                assert!(run > 0 || !is_panic, "on purpose");
                if run > 0 {
                    heartbeat.wait(std::future::pending()).await
                }
            }
        });
        let stop = house.stop.clone();
        let task = tokio::spawn(async move { stop.run_until_cancelled(kept).await });
        until(|| !house.troubles().is_empty()).await;
        assert_eq!(house.troubles(), [red]);
        until(|| house.troubles().is_empty()).await;
        assert_eq!((runs.load(Ordering::Relaxed), house.board.loops()["probe"].failures), (2, 1));
        house.stop.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_keeps_failing_stays_red_and_waits_longer() {
    let house = house();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let noted = starts.clone();
    let kept = house.supervisor.keep(this(), house.stop.clone(), move |_| {
        noted.lock().unwrap().push(Instant::now());
        async { panic!("on purpose") }
    });
    let task = tokio::spawn(kept);
    until(|| starts.lock().unwrap().len() == 2).await;
    for count in 3..=9 {
        until(|| {
            assert_eq!(house.troubles(), ["panicked and is started again"]);
            starts.lock().unwrap().len() == count
        })
        .await;
    }
    let starts = starts.lock().unwrap().clone();
    let pauses: Vec<_> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    house.stop.cancel();
    task.await.unwrap();
    assert!(house.board.loops().is_empty(), "it is over");
}

#[tokio::test]
async fn a_loop_that_cannot_be_started_again_ends_the_process() {
    let house = house();
    house.supervisor.end_with(this(), house.stop.clone(), |_| async { panic!("on purpose") }).await;
    assert!(house.stop.is_cancelled());
    assert_eq!(house.supervisor.fallen(), Some("probe panicked"));
    assert_eq!(house.troubles(), ["panicked and cannot be started again; the daemon ends"]);
}

#[tokio::test]
async fn a_loop_asked_to_end_is_no_failure_and_a_panic_then_counts() {
    let house = house();
    house.stop.cancel();
    house.supervisor.keep(this(), house.stop.clone(), |_| async {}).await;
    assert!(house.board.loops().is_empty() && house.supervisor.fallen().is_none());
    let panics = house.supervisor.keep(this(), house.stop.clone(), |_| async { panic!("on purpose") });
    assert!(tokio::spawn(panics).await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_hung_loop_is_red_until_it_turns_and_a_waiting_one_is_not() {
    let house = house();
    let faults = LoopFaults { what: Arc::new(|_| LoopFault::None), hung_after: Duration::from_secs(3) };
    let supervisor = house.supervisor.clone().with_faults(Some(faults));
    let go_on = Arc::new(tokio::sync::Notify::new());
    let wake = go_on.clone();
    let kept = supervisor.keep(this(), house.stop.clone(), move |heartbeat| {
        let wake = wake.clone();
        async move {
            heartbeat.wait(tokio::time::sleep(Duration::from_secs(4))).await;
            wake.notified().await;
            heartbeat.wait(std::future::pending()).await
        }
    });
    let stop = house.stop.clone();
    let task = tokio::spawn(async move { stop.run_until_cancelled(kept).await });
    let begun = Instant::now();
    until(|| !house.troubles().is_empty()).await;
    assert!(begun.elapsed() > Duration::from_secs(6), "while it waits it turns: {:?}", begun.elapsed());
    assert_eq!(house.troubles(), ["its loop has not turned for 3 s"]);
    go_on.notify_one();
    until(|| house.troubles().is_empty()).await;
    house.stop.cancel();
    task.await.unwrap();
}
