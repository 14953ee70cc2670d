//! History: how wide the questions are.

use std::time::{Duration, Instant};

use chainflume_devchain::{Cap, DevChain, Effect, RpcError, Rule, Wire};

use super::LOGS;
use crate::scene::Scene;

/// The widths asked for in 200 blocks of history, one question at a time, and the story.
async fn widths(behave: impl FnOnce(&DevChain)) -> (Vec<u64>, Vec<String>) {
    // So long that a busy machine is not taken for a slow node.
    widths_within("20s", behave).await
}

/// As [`widths`], with so much time for a request.
async fn widths_within(timeout: &str, behave: impl FnOnce(&DevChain)) -> (Vec<u64>, Vec<String>) {
    let scene = Scene::new(216).await;
    behave(&scene.chain);
    let keys =
        format!("request_timeout = \"{timeout}\"\n[chain.history]\ncommit_logs = 0\nranges_in_flight = 1\n");
    let flume = scene.start(&keys).await;
    flume.until_tip("dev", 214).await;
    let widths = scene.asked().iter().filter_map(crate::scene::Asked::width).collect();
    scene.ends_at(flume, 214).await;
    (widths, scene.story().await)
}

fn refuse_with(message: &str, max: u64) -> Cap {
    Cap { max, error: RpcError::new(-32000, message) }
}

/// The story of batches of these widths from genesis, and of the live blocks above.
fn batches(widths: &[u64]) -> Vec<String> {
    let ends: Vec<u64> = widths
        .iter()
        .scan(0, |sum, width| {
            *sum += width;
            Some(*sum - 1)
        })
        .collect();
    let mut story = vec![format!("all: up to a{}", ends[0])];
    story.extend(ends.windows(2).map(|pair| format!("all: a{} to a{}", pair[0], pair[1])));
    story.push("all: a200 to a214".to_owned());
    story
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_with_a_hint_is_met_once() {
    let (asked, story) =
        widths(|chain| chain.faults().set(|node| node.max_range = Some(Cap::range(30)))).await;
    assert_eq!(asked, [201, 30, 30, 30, 30, 30, 30, 21]);
    // One, two and four questions in a request.
    assert_eq!(story, batches(&[30, 60, 111]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_without_a_hint_is_closed_in_on() {
    let cap = refuse_with("block range is too large", 30);
    let (asked, story) = widths(|chain| chain.faults().set(|node| node.max_range = Some(cap))).await;
    assert_eq!(asked[..4], [201, 100, 50, 25]);
    assert_eq!(story, batches(&[25, 50, 100, 26]));
    let refused = asked.iter().filter(|width| **width > 30).count();
    assert!(refused <= 6, "{refused} refusals: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_on_results_narrows_where_the_logs_are_dense() {
    let (asked, story) = widths(|chain| chain.faults().set(|node| node.max_logs = Some(Cap::logs(60)))).await;
    assert_eq!(asked[0], 201);
    assert!(asked.iter().all(|width| *width >= 4), "a few blocks have few logs: {asked:?}");
    assert_eq!(story.last().map(String::as_str), Some("all: a200 to a214"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_not_answered_in_time_is_asked_again_for_half() {
    let hang = Rule::on(LOGS, Effect::Wire(Wire::Hang)).times(1);
    let (asked, story) = widths_within("400ms", |chain| drop(chain.faults().add(hang))).await;
    assert_eq!(asked, [201, 100, 101]);
    assert_eq!(story, batches(&[100, 101]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_we_read_is_asked_again_for_half() {
    let large = Rule::on(LOGS, Effect::Wire(Wire::Oversize(65 << 20))).times(1);
    let (asked, story) = widths(|chain| drop(chain.faults().add(large))).await;
    // Wider again only where the logs are sparser.
    assert_eq!(asked, [201, 100, 100, 1]);
    assert_eq!(story, batches(&[100, 100, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_waited_out_and_does_not_narrow() {
    let limited = Rule::on(LOGS, Effect::Wire(Wire::rate_limited(1))).times(1);
    let started = Instant::now();
    let (asked, story) = widths(|chain| drop(chain.faults().add(limited))).await;
    assert_eq!(asked, [201, 201]);
    assert_eq!(story, batches(&[201]));
    assert!(started.elapsed() >= Duration::from_secs(1), "it asked again after {:?}", started.elapsed());
}
