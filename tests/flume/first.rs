use crate::flume::{Flume, all_sources, config, connect, devchain};
use crate::{journal, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn history_is_synced_and_the_head_followed() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    journal::install(&pool).await;
    let (chain, server) = devchain(1, 100).await;
    let flume = Flume::start(&config(&server, "", &all_sources()), &url).await;
    flume.until_tip("dev", 98).await;
    chain.mine(1);
    flume.until_tip("dev", 99).await;
    flume.stop().await;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.expect("a count");
    let range = chainflume::domain::BlockRange::new(0, 99).expect("in order");
    assert_eq!(stored, i64::try_from(chain.canonical_logs(range).len()).expect("few"));
    let moves = journal::moves(&pool).await;
    assert_eq!(moves[..3], ["vault: starts, at 84", "token: starts, at 84", "nft: starts, at 84"]);
    assert_eq!(
        moves[moves.len() - 3..],
        ["vault: on from 98 to 99", "token: on from 98 to 99", "nft: on from 98 to 99"]
    );
}
