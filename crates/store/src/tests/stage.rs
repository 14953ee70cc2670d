use super::fixture::*;
use chainflume_core::domain::U256;
use chainflume_db::StoreError;

#[tokio::test]
async fn staged_events_are_invisible_until_their_step_commits() {
    let (store, mirror) = (store().await, store().await);
    let (chain, plain) = (open(&store).await, open(&mirror).await);
    let at = block(2, 0);
    let events = vec![event(at, 0, transfer(1, 2, U256::from(5))), event(at, 1, staked(9, 25))];
    let step = step(None, at, events);
    let staged = chain.stage(&step.events).await.expect("stages").expect("a connection is spare");
    assert_eq!(texts(&store, "select count(*)::text from events").await, ["0"]);
    chain.advance_staged(&step, Some(staged)).await.expect("advances");
    plain.advance(&step).await.expect("advances");
    assert_eq!(dump(&store).await, dump(&mirror).await);
}

#[tokio::test]
async fn what_is_staged_and_dropped_was_never_there() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let step = step(None, at, vec![event(at, 0, staked(9, 25))]);
    drop(chain.stage(&step.events).await.expect("stages").expect("a connection is spare"));
    chain.advance(&step).await.expect("advances");
    assert_eq!(texts(&store, "select count(*)::text from events").await, ["1"]);
}

#[tokio::test]
async fn a_step_refuses_what_was_staged_for_another() {
    let store = store().await;
    let chain = open(&store).await;
    let (at, before) = (block(1, 0), dump(&store).await);
    let staged = chain.stage(&[event(at, 0, staked(9, 25))]).await.expect("stages");
    let other = step(None, at, vec![event(at, 1, staked(9, 25))]);
    let refused = chain.advance_staged(&other, staged).await.expect_err("refused");
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn a_second_writer_stages_nothing_and_its_step_is_a_conflict() {
    let store = store().await;
    let (first, second) = (open(&store).await, open(&store).await);
    let at = block(1, 0);
    let step = step(None, at, vec![event(at, 0, staked(9, 25))]);
    first.advance(&step).await.expect("advances");
    let staged = second.stage(&step.events).await.expect("nothing is wrong yet");
    assert!(staged.is_none());
    assert!(second.advance_staged(&step, staged).await.expect_err("refused").is_conflict());
    assert_eq!(texts(&store, "select stake_amount::text from users").await, ["25"]);
}

#[tokio::test]
async fn most_connections_are_never_held_by_what_is_staged() {
    let store = store().await;
    let chain = open(&store).await;
    let stage =
        async |number| chain.stage(&[event(block(number, 0), 0, staked(9, 25))]).await.expect("stages");
    let held = stage(1).await;
    assert_eq!((held.is_some(), stage(2).await.is_some()), (true, false));
    drop(held);
    assert!(stage(2).await.is_some());
}
