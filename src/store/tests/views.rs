use super::fixture::*;
use crate::domain::{Column, SqlType, U256};
use crate::store::StoreError;

#[tokio::test]
async fn a_typed_view_shows_each_argument_in_its_type() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let args = r#"{"number":"-57896044618658097711785492504343953926634992332820282019728792003956564819968",
        "flag":true,"data":"0x00ff","type":{"hex":"0xff"},"it's":["1","2"]}"#;
    let events = vec![
        event(at, 0, note(args)),
        event(at, 1, transfer(0, 1, U256::MAX)),
        event(at, 2, transfer(1, 2, U256::from(3))),
        event(at, 3, nft(0, 1, U256::from(4))),
    ];
    advance(&chain, None, at, events).await.expect("advances");
    assert_eq!(
        texts(
            &store,
            "select number || ' ' || flag || ' ' || encode(data, 'hex') || ' ' || type_ || ' ' || \"it's\" || ' ' || type \
             from misc_note"
        )
        .await,
        [concat!(
            "-57896044618658097711785492504343953926634992332820282019728792003956564819968 true 00ff ",
            r#"{"hex": "0xff"} ["1", "2"] contract.note"#
        )]
    );
    assert_eq!(
        texts(
            &store,
            "select type || ' ' || encode(substring(\"from\" from 20), 'hex') || ' ' || value || ' ' || (event_id \
             = event_id(chain_id, block_number, block_hash, tx_index, log_index)) \
             from token_transfer order by log_index"
        )
        .await,
        [format!("erc20.mint 00 {} true", U256::MAX), "erc20.transfer 01 3 true".to_owned()]
    );
    assert_eq!(texts(&store, "select \"tokenId\"::text from nft_transfer").await, ["4"]);
}

#[tokio::test]
async fn views_are_listed_with_their_columns_and_can_be_dropped() {
    let store = store().await;
    open(&store).await;
    let views = store.views().await.expect("lists");
    let names: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.signature.as_str())).collect();
    assert_eq!(
        names,
        [
            ("misc_note", "Note(int256,bool,bytes,string,uint256[])"),
            ("nft_transfer", "Transfer(address,address,uint256)"),
            ("token_approval", "Approval(address,address,uint256)"),
            ("token_transfer", "Transfer(address,address,uint256)"),
            ("vault_staked", "Staked(address,uint256)"),
        ]
    );
    let columns: Vec<_> =
        views[4].columns.iter().map(|(name, sql_type)| format!("{name} {sql_type}")).collect();
    assert_eq!(
        columns,
        [
            "event_id uuid",
            "chain_id bigint",
            "block_number bigint",
            "block_hash bytea",
            "block_time timestamp with time zone",
            "tx_hash bytea",
            "tx_index bigint",
            "log_index bigint",
            "contract bytea",
            "type text",
            "developer bytea",
            "amount numeric(78,0)",
        ]
    );
    assert_eq!(store.drop_views(Some("token")).await.expect("drops"), ["token_approval", "token_transfer"]);
    assert_eq!(store.views().await.expect("lists").len(), 3);
    open(&store).await;
    assert_eq!(store.views().await.expect("lists").len(), 5);
}

#[tokio::test]
async fn a_view_follows_its_columns_and_keeps_grants_while_they_are_only_added() {
    let store = store().await;
    open(&store).await;
    execute(&store, "create role reader; grant select on misc_note to reader").await;
    let mut kinds = kinds();
    let mut column = kinds[NOTE].columns[0].clone();
    column.name = "more".to_owned();
    kinds[NOTE].columns.push(column);
    store.open_chain(&record(), &kinds).await.expect("opens");
    let readable = "select has_table_privilege('reader', 'misc_note', 'select')::text";
    assert_eq!(texts(&store, readable).await, ["true"]);
    kinds[NOTE].columns[0].column = Column::Arg { key: "number".to_owned(), sql_type: SqlType::Text };
    store.open_chain(&record(), &kinds).await.expect("opens");
    let view = store.views().await.expect("lists").swap_remove(0);
    assert_eq!(view.columns[10], ("number".to_owned(), "text".to_owned()));
    execute(&store, "create view mine as select * from misc_note").await;
    kinds[NOTE].columns.remove(0);
    let refused = store.open_chain(&record(), &kinds).await.expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "view `misc_note`: its columns changed and something was built on it; drop what was built, and start again"
    );
    execute(&store, "drop owned by reader; drop role reader").await;
}

#[tokio::test]
async fn a_view_never_replaces_what_is_not_ours() {
    for mine in ["create table vault_staked (x int)", "create view vault_staked as select 1 as x"] {
        let store = store().await;
        execute(&store, mine).await;
        let refused = store.open_chain(&record(), &kinds()).await.expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "view `vault_staked`: a table, index or view of that name is there and is not ours; rename the source"
        );
        assert_eq!(texts(&store, "select name from chains").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn two_events_never_share_a_view() {
    let store = store().await;
    let mut kinds = kinds();
    kinds[NOTE].view = "nft_transfer".to_owned();
    let refused = store.open_chain(&record(), &kinds).await.expect_err("refused");
    assert!(matches!(refused, StoreError::View { .. }), "{refused}");
    open(&store).await;
    kinds.remove(NFT);
    kinds[NFT].view = "nft_transfer".to_owned();
    let refused = store.open_chain(&record(), &kinds).await.expect_err("refused");
    assert!(refused.to_string().contains("it shows Transfer(address,address,uint256) of `nft`"), "{refused}");
}

#[tokio::test]
async fn instances_that_open_a_chain_at_once_agree() {
    let store = store().await;
    let (a, b, c) = tokio::join!(open(&store), open(&store), open(&store));
    let at = block(1, 0);
    advance(&a, None, at, vec![event(at, 0, staked(1, 1))]).await.expect("advances");
    advance(&b, Some(at), block(2, 0), vec![event(block(2, 0), 0, staked(1, 1))]).await.expect("advances");
    advance(&c, Some(block(2, 0)), block(3, 0), vec![event(block(3, 0), 0, staked(1, 1))])
        .await
        .expect("advances");
    assert_eq!(texts(&store, "select count(*)::text from vault_staked").await, ["3"]);
}
