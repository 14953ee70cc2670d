use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

use crate::daemon::{Home, agrees};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;

async fn execute(pool: &PgPool, sql: &str) -> u64 {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await
        .expect("the statement runs")
        .rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_same_beside_the_daemon_and_without_it() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(51, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(58).await;
    chain.reorg(5, 6);
    daemon.until_tip(59).await;

    let text = home.run(&["status"]).await.fine();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0].join(" "), format!("daemon {} is ready", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1].join(" "), "sink in-process: 0 messages wait");
    assert_eq!(lines[3].join(" "), "chain state led by head confirmed final new head heads by node");
    assert_eq!(lines[4][..2].join(" "), "dev live");
    assert_eq!(lines[4][3..6].join(" "), "61 59 45");
    assert_eq!(lines[4][8..].join(" "), format!("websocket {}", server.address()));
    assert_eq!(
        lines[6].join(" "),
        "chain source family tip lag blocks/s events/s ETA events dead last commit"
    );
    let rows: Vec<String> =
        lines[7..10].iter().map(|row| [&row[..5], &row[7..8], &row[9..10]].concat().join(" ")).collect();
    assert_eq!(rows, ["dev nft erc721 59 0 - 0", "dev token erc20 59 0 - 0", "dev vault stake 59 0 - 0"]);
    assert!(lines[10].join(" ").ends_with("undone, back to block 55"), "{text}");
    let beside = home.run(&["status", "--json"]).await.json();
    assert_eq!(beside["daemon"]["chains"]["dev"]["sources"]["vault"]["lag"], 0);
    assert_eq!(beside["reorgs"][0]["depth"], 3);
    daemon.stop_well().await;

    let text = home.run(&["status"]).await.fine();
    assert!(
        text.starts_with("no daemon answers on the admin address; this is what is stored\n\nchain"),
        "{text}"
    );
    let without = home.run(&["status", "--json"]).await.json();
    assert_eq!(without["daemon"], serde_json::Value::Null);
    for part in ["sources", "reorgs", "negativeBalances"] {
        assert_eq!(without[part], beside[part], "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_listed_with_their_columns() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(52, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    assert_eq!(
        home.run(&["views"]).await.fine(),
        "there are none yet; the daemon makes them when it starts\n"
    );
    let daemon = home.start();
    daemon.until_tip(3).await;
    let text = home.run(&["views"]).await.fine();
    let names: Vec<&str> = text.lines().filter(|line| line.contains('(') && !line.starts_with(' ')).collect();
    assert_eq!(
        names,
        [
            "nft_approval (nft, Approval(address,address,uint256))",
            "nft_approval_for_all (nft, ApprovalForAll(address,address,bool))",
            "nft_consecutive_transfer (nft, ConsecutiveTransfer(uint256,uint256,address,address))",
            "nft_transfer (nft, Transfer(address,address,uint256))",
            "token_approval (token, Approval(address,address,uint256))",
            "token_transfer (token, Transfer(address,address,uint256))",
            "vault_staked (vault, Staked(address,uint256))",
        ]
    );
    let views = home.run(&["views", "--json"]).await.json();
    assert_eq!(views[6]["columns"][10], serde_json::json!({ "name": "developer", "type": "evm_address" }));
    let pool = connect(&url).await;
    for view in views.as_array().expect("a list") {
        execute(&pool, &format!("select * from {}", view["name"].as_str().expect("a name"))).await;
    }
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_migrations_at_once_are_one_and_newer_schemas_are_kept() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(53, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let both = tokio::join!(home.run(&["migrate"]), home.run(&["migrate"]));
    let applied = [both.0.fine(), both.1.fine()].map(|text| {
        let words: Vec<&str> = text.split([' ', ';']).collect();
        assert_eq!((words[5], words[8..].join(" ").as_str()), (words[5], "were applied now\n"), "{text}");
        words[7].parse::<usize>().expect("a number")
    });
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).expect("it is there");
    let is_sql = |path: &std::path::Path| path.extension().is_some_and(|extension| extension == "sql");
    let known = folder.filter(|file| is_sql(&file.as_ref().expect("readable").path())).count();
    assert_eq!(applied.iter().sum::<usize>(), known);
    assert_eq!(
        home.run(&["migrate"]).await.fine(),
        format!("the database is at migration {known}; 0 were applied now\n")
    );

    let pool = connect(&url).await;
    let newer = "insert into chainflume_migrations (version, description, success, checksum, execution_time) \
        values (9999, 'of the future', true, '', 0)";
    execute(&pool, newer).await;
    let refusal = format!(
        "the database is at migration 9999, this program knows none above {known}; run the newer program"
    );
    for command in ["migrate", "run", "check"] {
        assert_eq!(home.run(&[command]).await.error(78), refusal, "{command}");
    }
    assert_eq!(execute(&pool, "select from chains").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_start_is_backfilled_beside_the_daemon() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(54, 400).await;
    let home = Home::new(&server, &all_sources().replace("start_block = 0", "start_block = 200"), Some(&url));
    let daemon = home.start();
    daemon.until_tip(398).await;
    let backfill = async |source: &str, to: &str| {
        home.run(&["backfill", "--source", source, "--from", "0", "--to", to]).await
    };
    // Below its start a source has no events, and gets none.
    let refusal = "source `vault` begins at block 200 (start_block), and nothing below it is added; give --from 200, or lower \
                   start_block: the daemon then reads the blocks below by itself";
    assert_eq!(backfill("vault", "398").await.error(1), refusal);
    let compared = home.run(&["verify", "--repair", "--from", "0", "--source", "vault"]).await.fine();
    assert!(compared.starts_with("vault, blocks 200..="), "{compared}");
    let compared = home.run(&["verify", "--from", "0", "--to", "199", "--source", "nft"]).await.fine();
    assert_eq!(compared, "nft: none of these blocks is both final and at or above start_block\n");
    let pool = connect(&url).await;
    let lowest = sqlx::query_scalar::<_, i64>("select min(block_number) from events").fetch_one(&pool).await;
    assert!(lowest.expect("a number") >= 200);

    home.rewrite("start_block = 200", "start_block = 0");
    for source in ["vault", "token", "nft"] {
        let text = backfill(source, "199").await.fine();
        assert!(
            text.starts_with("blocks 0..=199: ") && text.ends_with(" events added, 0 were there\n"),
            "{text}"
        );
        assert!(!text.contains(": 0 events"), "{text}");
    }
    chain.mine(2);
    daemon.until_tip(400).await;
    agrees(&chain, &url, 400).await;

    let lost = execute(
        &pool,
        "delete from events where token_id is null and projection = 'n' and block_number < 300",
    )
    .await;
    assert!(lost > 0);
    execute(
        &pool,
        &format!("update event_kinds set events = events - {lost} where event = 'ApprovalForAll'"),
    )
    .await;
    let stored: i64 = sqlx::query_scalar(
        "select count(*) from events e join event_kinds k on k.id = e.kind_id where k.source = 'nft' and e.block_number <= 398",
    )
    .fetch_one(&pool)
    .await
    .expect("a count");
    let all = u64::try_from(stored).expect("a count") + lost;
    assert_eq!(
        backfill("nft", "398").await.fine(),
        format!("blocks 0..=398: {lost} events added, {stored} were there\n")
    );
    assert_eq!(
        backfill("nft", "398").await.fine(),
        format!("blocks 0..=398: 0 events added, {all} were there\n")
    );
    agrees(&chain, &url, 400).await;

    daemon.stop_well().await;
    agrees(&chain, &url, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_event_that_differs_is_reported_and_left() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(55, 40).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(38).await;
    let pool = connect(&url).await;
    let forged = "update events set amount = amount + 1 where (block_number, log_index) = \
        (select block_number, log_index from events where projection = 's' order by block_number limit 1)";
    assert_eq!(execute(&pool, forged).await, 1);
    let output = home.run(&["backfill", "--source", "vault", "--from", "0", "--to", "38"]).await;
    let error = output.error(1);
    assert!(
        error.starts_with(
            "the node returns other logs than the stored ones at 1 place, which was left as it is: "
        ),
        "{error}"
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_cannot_be_is_refused_before_anything_is_read() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(56, 400).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(398).await;
    daemon.stop_well().await;
    chain.faults().forget();
    let backfill = async |source: &str, from: &str, to: &str| {
        home.run(&["backfill", "--source", source, "--from", from, "--to", to]).await
    };
    assert_eq!(
        backfill("nft", "0", "399").await.error(1),
        "source `nft` has not reached block 399 yet; backfill ends at its checkpoint at most"
    );
    assert_eq!(
        backfill("nfts", "0", "10").await.error(78),
        format!(
            "{}: there is no source \"nfts\"; there are: vault, token, nft",
            home.path("chainflume.toml").display()
        )
    );
    assert_eq!(
        backfill("nft", "5", "4").await.error(64),
        "--from 5 is above --to 4; give the lower block first"
    );
    assert_eq!(chain.calls("eth_getLogs"), 0);
}

/// What a session gets that registers thousands of sources, or builds an index, while the command waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_the_lock_of_the_registration() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(57, 20).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(18).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    for sql in [
        "create sequence tries",
        "create function refuse() returns trigger language plpgsql as $$ begin \
            if nextval('tries') <= 2 then raise exception 'canceling statement due to lock timeout' using errcode = '55P03'; end if; \
            return new; end $$",
        "create trigger refuse before insert on chains for each row execute function refuse()",
    ] {
        execute(&pool, sql).await;
    }
    let output = home.run(&["verify"]).await;
    assert_eq!(output.code, Some(0), "{output:#?}");
    assert_eq!(
        output.err.matches("another session registers sources or builds an index").count(),
        2,
        "{output:#?}"
    );
}
