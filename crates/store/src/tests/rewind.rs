use chainflume_core::domain::{BlockId, StartBlock, U256};

use super::fixture::*;
use crate::events;
use crate::{ChainStore, Checkpoint, ReorgRecord, Rewind, Rewound, UndoReason};
use chainflume_db::{StoreError, transaction};

#[tokio::test]
async fn a_rewind_gives_back_every_row_and_keeps_what_it_took() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    let first = vec![
        event(one, 0, transfer(0, 1, U256::from(10))),
        event(one, 1, approval(1, 2, U256::from(7))),
        event(one, 2, nft(0, 1, U256::from(1))),
        event(one, 3, staked(9, 5)),
    ];
    advance(&chain, None, one, first).await.expect("advances");
    let before = dump(&store).await;

    let mut second = step(
        Some(one),
        three,
        vec![
            event(two, 0, transfer(1, 1, U256::from(10))),
            event(two, 1, transfer(1, 3, U256::from(20))),
            event(two, 2, approval(1, 2, U256::ZERO)),
            event(two, 3, approval(3, 2, U256::from(1))),
            event(three, 0, nft(1, 0, U256::from(1))),
            event(three, 1, nft(0, 4, U256::from(2))),
            event(three, 2, staked(9, 5)),
            event(three, 3, staked(8, 5)),
        ],
    );
    second.dead_letters = vec![letter(two, 9), letter(two, 9)];
    chain.advance(&second).await.expect("advances");
    let ahead = dump(&store).await;

    let rewound = rewind(&chain, one).await.expect("rewinds");
    assert_eq!(rewound, Rewound { events: 8, retracted: 0, depth: 2, checkpoints: all_at(Some(one)) });
    assert_eq!(dump(&store).await, before);
    assert_eq!(texts(&store, "select count(*)::text from orphaned_events").await, ["8"]);
    let mut reorgs = store.reorgs(5).await.expect("reads");
    reorgs[0].detected_at = 0;
    let record = ReorgRecord {
        chain_id: CHAIN,
        ancestor: one,
        old_tip: three,
        depth: 2,
        events: 8,
        detected_at: 0,
        reason: UndoReason::Reorg,
    };
    assert_eq!(reorgs, [record]);

    // A→B→A: the same blocks come back.
    chain.advance(&second).await.expect("advances");
    assert_eq!(dump(&store).await, ahead);
    assert_eq!(chain.snapshot().await.expect("reads").reorgs, 1);
    rewind(&chain, one).await.expect("rewinds again");
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn a_rewind_locks_the_head_once_its_messages_are_written() {
    let store = store().await;
    let chain = open(&store).await;
    let one = block(1, 0);
    store_seven_mints_and_a_stake(&chain, one).await;
    // What is written down when the head is locked, each time it is.
    execute(
        &store,
        "create table locked (at bigint, written bigint);
         create function note_lock() returns trigger language plpgsql as $$ begin
         insert into locked select new.seq, count(*) from pg_temp.outbox_drafts; return null; end $$;
         create trigger note_lock after update on outbox_head for each row execute function note_lock()",
    )
    .await;
    let before = texts(&store, "select seq::text from outbox").await.len();
    rewind(&chain, one).await.expect("rewinds");
    assert_eq!(
        texts(&store, "select at::text || ' ' || written::text from locked").await,
        [format!("{} {before}", 2 * before)]
    );
    assert_eq!(texts(&store, MESSAGES).await, retractions_of(before));
    let named = "select room_keys::text from outbox where state = $$retracted$$ and type like 'erc20.%' order by seq desc";
    let confirmed = named.replace("$$retracted$$", "$$confirmed$$").replace("seq desc", "seq");
    assert_eq!(texts(&store, named).await, texts(&store, &confirmed).await);
}

#[tokio::test]
async fn a_rewind_without_temporary_tables_publishes_the_same() {
    let (admin, url) = with_url().await;
    open(&admin).await;
    let name = texts(&admin, "select current_database()::text").await.remove(0);
    let role = format!("flume_bare_{name}");
    execute(
        &admin,
        &format!(
            "revoke temporary on database {name} from public; create role {role} login;
             grant all on all tables in schema public to {role};
             grant all on all sequences in schema public to {role}"
        ),
    )
    .await;
    let store = connect(&url.replace("user=postgres", &format!("user={role}"))).await;
    let chain = store.open_chain(&record(), &kinds()).await.expect("the chain opens");
    store_seven_mints_and_a_stake(&chain, block(1, 0)).await;
    let before = texts(&store, "select seq::text from outbox").await.len();
    rewind(&chain, block(1, 0)).await.expect("rewinds");
    assert_eq!(texts(&store, MESSAGES).await, retractions_of(before));
    store.close().await;
    execute(&admin, &format!("drop owned by {role}; drop role {role}")).await;
}

async fn store_seven_mints_and_a_stake(chain: &ChainStore, above: BlockId) {
    let next = block(above.number + 1, 0);
    advance(chain, None, above, vec![]).await.expect("advances");
    let mut events: Vec<_> = (0..7).map(|at| event(next, at, transfer(0, 1, U256::from(at + 1)))).collect();
    events.push(event(next, 7, staked(9, 5)));
    advance(chain, Some(above), next, events).await.expect("advances");
}

/// Number in the row and in the text, type and state.
const MESSAGES: &str = "select concat_ws(' ', seq, message::jsonb->>'seq', type, state, \
                        message::jsonb->'metadata'->>'logIndex') from outbox order by seq";

/// Seven mints, a stake and its user, and their retractions: the newest first, the user last.
fn retractions_of(before: usize) -> Vec<String> {
    let forth = (0..7).map(|at| format!("erc20.mint confirmed {at}"));
    let forth = forth.chain(["stake.staked confirmed 7".to_owned(), "user.activated confirmed 7".to_owned()]);
    let back = ["stake.staked retracted 7".to_owned()].into_iter();
    let back = back.chain((0..7).rev().map(|at| format!("erc20.mint retracted {at}")));
    let all: Vec<String> = forth.chain(back).chain(["user.activated retracted 7".to_owned()]).collect();
    assert_eq!(all.len(), 2 * before);
    all.into_iter().zip(1..).map(|(text, seq)| format!("{seq} {seq} {text}")).collect()
}

#[tokio::test]
async fn sources_at_or_below_the_ancestor_stay_where_they_are() {
    let store = store().await;
    let chain = open(&store).await;
    let mut behind = step(None, block(3, 0), vec![]);
    behind.expected.truncate(2);
    chain.advance(&behind).await.expect("advances");
    let mut ahead = step(None, block(9, 0), vec![]);
    ahead.expected = ahead.expected.split_off(2);
    chain.advance(&ahead).await.expect("advances");
    let rewound = rewind(&chain, block(5, 0)).await.expect("rewinds");
    let at = |source: &str, number| Checkpoint { source: source.to_owned(), at: Some(block(number, 0)) };
    assert_eq!(rewound.checkpoints, [at("vault", 3), at("token", 3), at("nft", 5), at("misc", 5)]);
    assert_eq!(chain.snapshot().await.expect("reads").blocks, [block(3, 0), block(5, 0)]);
}

#[tokio::test]
async fn a_source_that_began_above_the_ancestor_begins_anew() {
    let store = store().await;
    let mut record = record();
    record.sources[3].start_block = StartBlock::Number(8);
    let chain = store.open_chain(&record, &kinds()).await.expect("opens");
    advance(&chain, None, block(9, 0), vec![]).await.expect("advances");
    let rewound = rewind(&chain, block(7, 0)).await.expect("rewinds");
    let mut expected = all_at(Some(block(7, 0)));
    expected[3].at = None;
    assert_eq!(rewound.checkpoints, expected);
    assert_eq!(chain.snapshot().await.expect("reads").checkpoints, expected);
}

#[tokio::test]
async fn a_page_of_an_undo_reads_no_row_of_the_others() {
    let store = store().await;
    open(&store).await;
    let mut tx = transaction::begin(&store.pool).await.expect("begins");
    let reorg: i64 = sqlx::query_scalar(
        r"
        insert into reorgs (chain_id, ancestor_number, ancestor_hash, old_tip_number, old_tip_hash, depth, events)
        values (421614, 0, '', 2000, '', 2000, 2000) returning id
        ",
    )
    .fetch_one(&mut *tx)
    .await
    .expect("inserts");
    let sql = r"
        insert into orphaned_events (reorg_id, chain_id, block_number, tx_index, log_index, block_time, kind_id,
            projection, block_hash, tx_hash, address, account, amount)
        select $1, 421614, n, 0, 0, now(), (select min(id) from event_kinds), 's', sha256(''), sha256(''),
            substr(sha256(''), 1, 20), substr(sha256(''), 1, 20), 1
        from generate_series(1, 2000) as n
        ";
    sqlx::query(sql).bind(reorg).execute(&mut *tx).await.expect("inserts");
    let (mut after, mut below, mut events) = (None, None, 0);
    while events == 0 || after.is_some() {
        after = events::fold_orphaned(&mut tx, reorg, after, 100).await.expect("folds").1;
        events += 100;
    }
    loop {
        let (page, last) = events::orphaned_page(&mut tx, (reorg, 1), below, 100).await.expect("reads");
        if last.is_none() {
            break;
        }
        (below, events) = (last, events + page.len());
    }
    assert_eq!(events, 2_000 + 100 + 2_000);
    let sql = "select (seq_tup_read + idx_tup_fetch)::bigint from pg_stat_xact_user_tables \
        where relid = 'orphaned_events'::regclass";
    let read: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.expect("counts");
    assert!((4_000..5_000).contains(&read), "{read} rows");
}

#[tokio::test]
async fn a_rewind_of_an_old_world_or_below_final_changes_nothing() {
    let store = store().await;
    let chain = open(&store).await;
    let mut first = step(None, block(5, 0), vec![event(block(4, 0), 0, staked(1, 1))]);
    first.final_number = 3;
    chain.advance(&first).await.expect("advances");
    let before = dump(&store).await;
    let expected = all_at(Some(block(5, 0)));
    let below =
        chain.rewind(&Rewind { expected: expected.clone(), to: block(2, 0), by_operator: false }).await;
    assert!(matches!(below, Err(StoreError::BelowFinal { to: 2, final_number: 3 })));
    for (expected, to) in [
        (all_at(Some(block(5, 1))), block(4, 0)),
        (all_at(None), block(4, 0)),
        (expected.clone(), block(4, 1)),
        (expected.clone(), block(5, 1)),
    ] {
        assert!(
            chain
                .rewind(&Rewind { expected, to, by_operator: false })
                .await
                .expect_err("refused")
                .is_conflict()
        );
    }
    let nothing = chain
        .rewind(&Rewind { expected: expected.clone(), to: block(6, 0), by_operator: false })
        .await
        .expect("nothing to do");
    assert_eq!(nothing, Rewound { events: 0, retracted: 0, depth: 0, checkpoints: expected });
    assert_eq!(dump(&store).await, before);
    assert_eq!(store.reorgs(9).await.expect("reads"), []);
}
