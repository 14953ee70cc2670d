use super::fixture::*;
use crate::Advanced;

const USERS: &str = "select encode(substring(wallet from 20), 'hex') || ' ' || stake_amount || ' ' || status || ' ' \
    || coalesce(status_before, '-') || ' ' || origin || ' ' || coalesce(extract(epoch from staked_at)::bigint::text, '-') \
    from users order by 1";

fn insert(who: u8, status: &str) -> String {
    format!(
        "insert into users (wallet, status) values ('\\x{}', '{status}')",
        alloy_primitives::hex::encode(address(who))
    )
}

#[tokio::test]
async fn a_stake_makes_a_user_active_and_its_undoing_reverts_that() {
    let store = store().await;
    let chain = open(&store).await;
    execute(&store, &insert(1, "invited")).await;
    execute(&store, &insert(2, "active")).await;
    let (one, two) = (block(1, 0), block(2, 0));
    let stakes = |at| (1..=3).map(|who| event(at, who.into(), staked(who, 10))).collect::<Vec<_>>();
    advance(&chain, None, block(0, 0), vec![]).await.expect("advances");
    let before = texts(&store, USERS).await;
    advance(&chain, Some(block(0, 0)), one, stakes(one)).await.expect("advances");
    let once = texts(&store, USERS).await;
    assert_eq!(
        once,
        [
            "01 10 active invited application 1700000012",
            "02 10 active active application 1700000012",
            "03 10 active - chain 1700000012",
        ]
    );
    advance(&chain, Some(one), two, stakes(two)).await.expect("advances");
    assert_eq!(
        texts(&store, USERS).await,
        [
            "01 20 active invited application 1700000024",
            "02 20 active active application 1700000024",
            "03 20 active - chain 1700000024",
        ]
    );
    rewind(&chain, one).await.expect("rewinds");
    assert_eq!(texts(&store, USERS).await, once);
    execute(&store, "update users set status = 'banned' where status_before = 'invited'").await;
    rewind(&chain, block(0, 0)).await.expect("rewinds");
    assert_eq!(before, ["01 0 invited - application -", "02 0 active - application -"]);
    assert_eq!(texts(&store, USERS).await, ["01 0 banned - application -", "02 0 active - application -"]);
}

#[tokio::test]
async fn unknown_wallets_are_counted_and_get_the_whole_sum_once_known() {
    let store = store().await;
    let mut record = record();
    record.create_missing_users = false;
    let chain = store.open_chain(&record, &kinds()).await.expect("opens");
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    let first = vec![event(one, 0, staked(1, 5)), event(one, 1, staked(1, 5)), event(one, 2, staked(2, 5))];
    let done = advance(&chain, None, one, first).await.expect("advances");
    assert_eq!(done, Advanced { events: 3, unknown_users: 2, retracted: 0 });
    assert_eq!(texts(&store, USERS).await, Vec::<String>::new());
    execute(&store, &insert(1, "registered")).await;
    let second = vec![event(two, 0, staked(1, 1)), event(two, 1, staked(2, 1))];
    let done = advance(&chain, Some(one), two, second).await.expect("advances");
    assert_eq!(done, Advanced { events: 2, unknown_users: 1, retracted: 0 });
    assert_eq!(texts(&store, USERS).await, ["01 11 active registered application 1700000024"]);
    advance(&chain, Some(two), three, vec![event(three, 0, staked(2, 1))]).await.expect("advances");
    execute(&store, &insert(2, "registered")).await;
    rewind(&chain, two).await.expect("rewinds");
    assert_eq!(
        texts(&store, USERS).await,
        ["01 11 active registered application 1700000024", "02 0 registered - application -"]
    );
}

#[tokio::test]
async fn a_created_user_in_use_by_an_application_is_kept_unstaked() {
    let store = store().await;
    let chain = open(&store).await;
    let one = block(1, 0);
    advance(&chain, None, block(0, 0), vec![]).await.expect("advances");
    advance(&chain, Some(block(0, 0)), one, vec![event(one, 0, staked(1, 5))]).await.expect("advances");
    execute(
        &store,
        "create table orders (user_id uuid references users (id)); insert into orders select id from users",
    )
    .await;
    rewind(&chain, block(0, 0)).await.expect("rewinds");
    assert_eq!(texts(&store, USERS).await, ["01 0 registered - application -"]);
}

#[tokio::test]
async fn stakes_of_all_chains_add_up_while_chains_write_side_by_side() {
    let store = store().await;
    let mut chains = Vec::new();
    for chain_id in 1..=4 {
        let mut record = record();
        record.chain_id = chain_id;
        let mut kinds = kinds();
        for source in &mut record.sources {
            source.name = format!("{}{chain_id}", source.name);
        }
        for kind in &mut kinds {
            kind.source = format!("{}{chain_id}", kind.source);
            kind.view = format!("{}{chain_id}", kind.view);
        }
        chains.push(store.open_chain(&record, &kinds).await.expect("opens"));
    }
    let write = async |chain: &crate::ChainStore, id: usize| {
        let mut from = None;
        for number in 1..=10 {
            let to = block(number, 0);
            let mut step = step(from, to, vec![event(to, 0, staked(7, 1))]);
            for checkpoint in &mut step.expected {
                checkpoint.source = format!("{}{id}", checkpoint.source);
            }
            chain.advance(&step).await.expect("advances");
            from = Some(to);
        }
    };
    tokio::join!(write(&chains[0], 1), write(&chains[1], 2), write(&chains[2], 3), write(&chains[3], 4));
    assert_eq!(texts(&store, "select stake_amount::text from users").await, ["40"]);
}

const IDS: &str = "select encode(substring(wallet from 20), 'hex') || ' ' || id from users order by 1";

#[tokio::test]
async fn a_user_has_the_same_id_after_a_reorg_and_in_each_database() {
    let (store, other) = (store().await, store().await);
    let (chain, one, two) = (open(&store).await, block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let stake = || vec![event(two, 0, staked(7, 5))];
    advance(&chain, Some(one), two, stake()).await.expect("advances");
    let before = texts(&store, IDS).await;
    rewind(&chain, one).await.expect("rewinds");
    assert_eq!(texts(&store, IDS).await, [""; 0]);
    advance(&chain, Some(one), two, stake()).await.expect("advances");
    assert_eq!(texts(&store, IDS).await, before);
    execute(&other, &insert(7, "invited")).await;
    assert_eq!(texts(&other, IDS).await, before, "added by the application or by the chain");
    let version = "select substring(id::text from 15 for 1) || ' ' || (id = user_id(wallet)) from users";
    assert_eq!(texts(&store, version).await, ["8 true"]);
}

#[tokio::test]
async fn a_user_with_an_older_or_chosen_id_keeps_it_over_a_reorg() {
    let store = store().await;
    let (chain, one, two) = (open(&store).await, block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let stake = || vec![event(two, 0, staked(7, 5))];
    advance(&chain, Some(one), two, stake()).await.expect("advances");
    execute(&store, "update users set id = '11111111-2222-4333-8444-555555555555'").await;
    rewind(&chain, one).await.expect("rewinds");
    advance(&chain, Some(one), two, stake()).await.expect("advances");
    assert_eq!(texts(&store, IDS).await, ["07 11111111-2222-4333-8444-555555555555"]);
}
