use chainflume_core::domain::{EventId, Place, U256};
use chainflume_db::transaction;

use super::fixture::*;
use crate::{Advanced, Checkpoint, StoreSnapshot};
use chainflume_db::StoreError;

#[tokio::test]
async fn an_advance_stores_events_projections_and_checkpoints() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(2, 0);
    let events = vec![
        event(at, 0, transfer(0, 1, U256::MAX)),
        event(at, 1, transfer(0, 1, U256::MAX)),
        event(at, 2, transfer(2, 3, U256::from(5))),
        event(at, 3, approval(1, 2, U256::from(7))),
        event(at, 4, approval(1, 2, U256::from(8))),
        event(at, 5, nft(0, 1, U256::MAX)),
        event(at, 6, nft(0, 1, U256::ZERO)),
        event(at, 7, nft(1, 0, U256::ZERO)),
        event(at, 8, staked(9, 25_000_001)),
        event(at, 9, note(r#"{"number":"-3"}"#)),
    ];
    let done = advance(&chain, None, at, events).await.expect("advances");
    assert_eq!(done, Advanced { events: 10, unknown_users: 0, retracted: 0 });
    let held = chain.snapshot().await.expect("reads");
    let expected = StoreSnapshot {
        checkpoints: all_at(Some(at)),
        blocks: vec![at],
        final_number: Some(0),
        reorgs: 0,
        pending: vec![],
    };
    assert_eq!(held, expected);
    assert_eq!(
        texts(
            &store,
            "select encode(account, 'hex') || ' ' || balance || ' ' || events from token_balances order by 1"
        )
        .await,
        [
            "0000000000000000000000000000000000000001 231584178474632390847141970017375815706539969331281128078915168015826259279870 2",
            "0000000000000000000000000000000000000002 -5 1",
            "0000000000000000000000000000000000000003 5 1",
        ]
    );
    assert_eq!(texts(&store, "select amount::text from token_allowances").await, ["8"]);
    assert_eq!(texts(&store, "select token_id::text from nft_owners").await, [U256::MAX.to_string()]);
    assert_eq!(texts(&store, "select tokens::text from nft_balances").await, ["1"]);
    assert_eq!(
        texts(&store, "select stake_amount || ' ' || stake_amount_scaled || ' ' || status from user_stakes")
            .await,
        ["25000001 25.000001 active"]
    );
    assert_eq!(store.negative_balances().await.expect("reads"), [(CHAIN, 1)]);
}

#[tokio::test]
async fn a_second_writer_with_an_old_checkpoint_commits_nothing() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two) = (block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let before = dump(&store).await;
    for expected in [None, Some(block(1, 9)), Some(block(0, 0))] {
        let late = advance(&chain, expected, two, vec![event(two, 0, staked(1, 1))]).await;
        assert!(late.expect_err("refused").is_conflict());
    }
    let mut partly = step(Some(one), two, vec![]);
    partly.expected[3].at = None;
    assert!(chain.advance(&partly).await.expect_err("refused").is_conflict());
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn two_writers_at_once_store_a_range_once() {
    let store = store().await;
    let (a, b) = (open(&store).await, open(&store).await);
    let at = block(1, 0);
    let events = || vec![event(at, 0, staked(1, 1))];
    let (a, b) = tokio::join!(advance(&a, None, at, events()), advance(&b, None, at, events()));
    assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|ok| **ok).count(), 1);
    assert!(a.and(b).expect_err("one is refused").is_conflict());
    assert_eq!(texts(&store, "select stake_amount::text from users").await, ["1"]);
}

#[tokio::test]
async fn a_block_that_contradicts_the_window_is_a_conflict() {
    let store = store().await;
    let chain = open(&store).await;
    advance(&chain, None, block(2, 0), vec![]).await.expect("advances");
    let mut other = step(Some(block(2, 0)), block(3, 0), vec![]);
    other.refs = vec![block(2, 1)];
    assert!(chain.advance(&other).await.expect_err("refused").is_conflict());
    let twice =
        advance(&chain, Some(block(2, 0)), block(3, 0), vec![event(block(3, 1), 0, staked(1, 1))]).await;
    assert!(twice.expect_err("refused").is_conflict());
}

#[tokio::test]
async fn a_log_stored_for_another_source_is_named() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let of = |source: &str| vec![Checkpoint { source: source.to_owned(), at: None }];
    let mut first = step(None, at, vec![event(at, 4, staked(1, 1))]);
    first.expected = of("vault");
    chain.advance(&first).await.expect("advances");
    let before = dump(&store).await;
    let mut second = step(None, at, vec![event(at, 3, note("{}")), event(at, 4, note("{}"))]);
    second.expected = of("misc");
    match chain.advance(&second).await {
        Err(StoreError::Overlap { place, source_name, .. }) => {
            assert_eq!(place, Place { block_number: 1, tx_index: 1, log_index: 4 });
            assert_eq!(source_name, "vault");
        }
        other => panic!("not an overlap: {other:?}"),
    }
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn a_step_that_contradicts_itself_is_refused() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two) = (block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let twice = || vec![event(two, 0, staked(1, 1)), event(two, 0, staked(2, 2))];
    for (to, events) in [
        (one, vec![]),
        (two, vec![event(one, 0, staked(1, 1))]),
        (two, vec![event(block(3, 0), 0, staked(1, 1))]),
        (two, twice()),
    ] {
        let refused = advance(&chain, Some(one), to, events).await.expect_err("refused");
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
}

#[tokio::test]
async fn the_window_keeps_the_newest_final_block_and_all_above() {
    let store = store().await;
    let chain = open(&store).await;
    let mut first = step(None, block(9, 0), vec![]);
    first.refs = (3..9).map(|number| block(number, 0)).collect();
    first.final_number = 6;
    first.durable = false;
    chain.advance(&first).await.expect("advances");
    let mut second = step(Some(block(9, 0)), block(10, 0), vec![]);
    second.final_number = 5;
    chain.advance(&second).await.expect("advances");
    let held = chain.snapshot().await.expect("reads");
    assert_eq!(held.blocks, (6..=10).map(|number| block(number, 0)).collect::<Vec<_>>());
    assert_eq!(held.final_number, Some(6));
}

#[tokio::test]
async fn the_event_id_in_sql_is_the_one_in_the_program() {
    let store = store().await;
    let big = i64::MAX.unsigned_abs();
    for (chain_id, number, tx_index, log_index) in [
        (1, 0, 0, 0),
        (CHAIN, 18_000_000, 118, 290),
        (big, big, u32::MAX, u32::MAX),
        (7, 1 << 40, 1 << 20, 1 << 24),
        (7, (1 << 40) - 1, (1 << 20) - 1, (1 << 24) - 1),
        (7, 0xff_0000_0000, 0, 1),
    ] {
        for fork in [0, 7, 255] {
            let hash = block(number, fork).hash;
            let place = Place { block_number: number, tx_index, log_index };
            let id: uuid::Uuid = sqlx::query_scalar("select event_id($1, $2, $3, $4, $5)")
                .bind(i64::try_from(chain_id).expect("fits"))
                .bind(i64::try_from(number).expect("fits"))
                .bind(hash.as_slice())
                .bind(i64::from(tx_index))
                .bind(i64::from(log_index))
                .fetch_one(&store.pool)
                .await
                .expect("computes");
            assert_eq!(id, EventId::new(chain_id, hash, place).as_uuid());
        }
    }
}

#[tokio::test]
async fn numbers_times_and_arguments_arrive_as_they_were_sent() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let amounts = [
        U256::ZERO,
        U256::from(9_999),
        U256::from(10_000),
        U256::from(10_u64.pow(16)),
        U256::from(u64::MAX),
        U256::MAX >> 1,
        U256::MAX - U256::from(1),
        U256::MAX,
    ];
    let mut events: Vec<_> =
        (0..).zip(amounts).map(|(log_index, amount)| event(at, log_index, approval(1, 2, amount))).collect();
    events[0].block_time = 0;
    events[1].block_time = 9_224_286_307_199;
    events[2].fact.args = Some(r#"{"text":"ü\n\"","deep":[{"a":"1"}]}"#.to_owned());
    let places: Vec<_> = events.iter().collect();
    advance(&chain, None, at, events.clone()).await.expect("advances");
    let mut tx = transaction::begin(&store.pool).await.expect("begins");
    let stored = crate::events::at_places(&mut tx, &chain.chain, &places).await.expect("reads");
    let stored: Vec<_> = stored
        .into_values()
        .map(|stored| (stored.event.fact.amount, stored.event.block_time, stored.event.tx_hash))
        .collect();
    let sent: Vec<_> =
        events.iter().map(|event| (event.fact.amount, event.block_time, event.tx_hash)).collect();
    assert_eq!(stored, sent);
    assert_eq!(
        texts(&store, "select args::text from events where args is not null").await,
        [r#"{"deep": [{"a": "1"}], "text": "ü\n\""}"#]
    );
    let mut late = event(block(2, 0), 0, staked(1, 1));
    late.block_time = 9_224_286_307_200;
    let refused = advance(&chain, Some(at), block(2, 0), vec![late]).await;
    assert!(matches!(refused, Err(StoreError::OutOfRange { what: "block time", .. })));
    advance(&chain, Some(at), block(2, 0), vec![]).await.expect("the connection is as good as before");
}

/// Each group of sources as `block: sources`, and which versions the rows of sources have.
async fn groups(store: &crate::Store) -> (Vec<String>, Vec<String>) {
    let groups = "select g.block_number || ': ' || string_agg(s.name, ' ' order by s.name) \
        from source_groups g left join sources s on s.group_id = g.id group by g.id order by 1";
    (texts(store, groups).await, texts(store, "select xmin::text from sources order by name").await)
}

#[tokio::test]
async fn sources_at_one_block_share_a_row_that_moves_alone() {
    let store = store().await;
    let chain = open(&store).await;
    advance(&chain, None, block(1, 0), vec![]).await.expect("advances");
    let (together, rows) = groups(&store).await;
    assert_eq!(together, ["1: misc nft token vault"]);
    advance(&chain, Some(block(1, 0)), block(2, 0), vec![]).await.expect("advances");
    assert_eq!(
        groups(&store).await,
        (vec!["2: misc nft token vault".to_owned()], rows),
        "no source is rewritten"
    );

    // Some go on without the others, and all go on together again.
    let of = |names: [&str; 2], from: u64, to: u64| {
        let mut step = step(Some(block(from, 0)), block(to, 0), vec![]);
        step.expected.retain(|checkpoint| names.contains(&checkpoint.source.as_str()));
        step
    };
    chain.advance(&of(["vault", "token"], 2, 3)).await.expect("advances");
    assert_eq!(groups(&store).await.0, ["2: misc nft", "3: token vault"]);
    let all = advance(&chain, Some(block(2, 0)), block(4, 0), vec![]).await.expect_err("two are elsewhere");
    assert!(all.is_conflict(), "{all}");
    let other = chain.advance(&of(["vault", "nft"], 2, 4)).await.expect_err("one is elsewhere");
    assert!(other.is_conflict(), "{other}");
    chain.advance(&of(["misc", "nft"], 2, 3)).await.expect("advances");
    advance(&chain, Some(block(3, 0)), block(4, 0), vec![]).await.expect("advances");
    assert_eq!(groups(&store).await.0, ["4: misc nft token vault"]);
    rewind(&chain, block(2, 0)).await.expect("rewinds");
    assert_eq!(groups(&store).await.0, ["2: misc nft token vault"]);

    // Another name makes other sources of them.
    assert!(store.rename_source("misc", "other").await.expect("renames"));
    let gone =
        advance(&chain, Some(block(2, 0)), block(3, 0), vec![]).await.expect_err("misc has no checkpoint");
    assert!(gone.is_conflict(), "{gone}");
    assert_eq!(groups(&store).await.0, ["2: nft other token vault"]);
}
