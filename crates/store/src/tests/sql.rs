use super::fixture::*;
use crate::Store;
use chainflume_core::domain::U256;

const PAGE: &str = include_str!("../../../../docs/SQL.md");

async fn with_events() -> Store {
    let store = store().await;
    let (chain, at) = (open(&store).await, block(1, 0));
    let events = vec![
        event(at, 0, staked(1, 5)),
        event(at, 1, transfer(0, 1, U256::from(7))),
        event(at, 2, transfer(1, 2, U256::from(3))),
        event(at, 3, nft(0, 1, U256::from(4))),
    ];
    advance(&chain, None, at, events).await.expect("advances");
    store
}

#[tokio::test]
async fn an_address_is_found_by_its_text_and_another_text_fails() {
    let store = with_events().await;
    let found =
        |text: &str| format!("select count(*)::text from token_transfer where \"from\" = addr('{text}')");
    let address = format!("0x{:0>40}", "1");
    assert_eq!(texts(&store, &found(&address)).await, ["1"]);
    assert_eq!(texts(&store, &format!("select hex0x(addr('{address}'))")).await, [&*address]);
    for wrong in ["0x1", &address[2..], &format!("{address}00"), "\\x00"] {
        let error = sqlx::query(sqlx::AssertSqlSafe(found(wrong))).fetch_all(&store.pool).await;
        let error = error.expect_err("no address").to_string();
        assert!(error.contains("is no address"), "{error}");
    }
    let plan =
        "explain select * from events where account = addr('0x0000000000000000000000000000000000000001')";
    let mut connection = store.pool.acquire().await.expect("a connection");
    sqlx::query("set enable_seqscan = off").execute(&mut *connection).await.expect("sets");
    let plan: Vec<String> = sqlx::query_scalar(plan).fetch_all(&mut *connection).await.expect("plans");
    assert!(plan.join("\n").contains("events_account_idx"), "{plan:#?}");
}

#[tokio::test]
async fn a_text_finds_the_bytes_of_a_typed_view_by_the_index() {
    let store = with_events().await;
    let one = format!("0x{:0>40}", "1");
    let count = async |view: &str, condition: &str| {
        let sql = format!("select count(*)::text from {view} where {condition}");
        sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch_one(&store.pool).await
    };
    let found = async |condition: &str| count("token_transfer", condition).await.expect(condition);
    assert_eq!(found(&format!("\"from\" = '{one}'")).await, "1");
    assert_eq!(found(&format!("\"from\" = '{}'", one.replace("0x", "\\x"))).await, "1");
    assert_eq!(found(&format!("\"from\" = addr('{one}')")).await, "1");
    assert_eq!(found(&format!("\"from\" <> '{one}'")).await, "1");
    assert_eq!(found(&format!("\"from\" in ('{one}', '0x{:0>40}')", "0")).await, "2");
    assert_eq!(found(&format!("contract = '0x{:0>40}'", "C9")).await, "2", "whatever the case of its digits");
    assert_eq!(found(&format!("tx_hash = '0x{:0>64}'", "1")).await, "1");
    assert_eq!(found("\"to\" = \"from\"").await, "0");
    let own = "exists (select from token_balances b where b.account = \"from\" and b.token = contract)";
    assert_eq!(found(own).await, "1");
    // What can be no address is an error and not an empty answer, on whichever side it is.
    for wrong in
        ["\"from\" = '0x01'", "\"from\" = 'nobody'", "tx_hash = '0x'", &format!("'{one}' = \"from\"")]
    {
        let error = count("token_transfer", wrong).await.expect_err(wrong).to_string();
        assert!(error.contains("bytes in 0x form") || error.contains("left side"), "{error}");
    }
    let mut connection = store.pool.acquire().await.expect("a connection");
    sqlx::query("set enable_seqscan = off").execute(&mut *connection).await.expect("sets");
    let plan = format!("explain select * from token_transfer where \"from\" = '{one}'");
    let plan: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(plan)).fetch_all(&mut *connection).await.expect("plans");
    assert!(plan.join("\n").contains("account = '\\x"), "{plan:#?}");
}

#[tokio::test]
async fn an_event_id_leads_to_its_place() {
    let store = with_events().await;
    let same = "select bool_and((p.block_number, p.tx_index, p.log_index) = (e.block_number, e.tx_index, e.log_index))::text \
        from events e, event_place(event_id(e.chain_id, e.block_number, e.block_hash, e.tx_index, e.log_index)) p";
    assert_eq!(texts(&store, same).await, ["true"]);
    let far = "select (p.block_number, p.tx_index, p.log_index)::text \
        from event_place(event_id(1, 999999999999, decode(repeat('ab', 32), 'hex'), 1048575, 16777215)) p";
    assert_eq!(texts(&store, far).await, ["(999999999999,1048575,16777215)"]);
}

#[tokio::test]
async fn every_recipe_of_the_page_runs() {
    let store = with_events().await;
    let recipes: Vec<&str> =
        PAGE.split("```sql\n").skip(1).map(|rest| rest.split("```").next().expect("an end")).collect();
    assert!(recipes.len() >= 10, "{}", recipes.len());
    for recipe in recipes {
        let rows = sqlx::query(sqlx::AssertSqlSafe(recipe)).fetch_all(&store.pool).await;
        rows.unwrap_or_else(|error| panic!("{error}: {recipe}"));
    }
}

#[tokio::test]
async fn every_column_of_the_page_is_there_with_its_comment() {
    let store = store().await;
    let sql = "select c.table_name || '.' || c.column_name || ' ' || d.description \
        from information_schema.columns c join pg_description d on d.objoid = c.table_name::text::regclass \
            and d.objsubid = c.ordinal_position and d.classoid = 'pg_class'::regclass \
        where c.table_schema = current_schema()";
    let commented = texts(&store, sql).await;
    let mut count = 0;
    for section in PAGE.split("### `").skip(1) {
        let (table, rows) = section.split_once('`').expect("a name");
        for row in rows.lines().filter_map(|line| line.strip_prefix("| `")) {
            let (column, meaning) = row.split_once("` | ").expect("two cells");
            let line = format!("{table}.{column} {}", meaning.trim_end_matches(" |"));
            assert!(commented.contains(&line), "{line}: {commented:#?}");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
    for table in ["events", "users", "token_balances", "token_allowances", "nft_owners", "stakes", "outbox"] {
        let bare = format!(
            "select a.attname::text from pg_attribute a where a.attrelid = '{table}'::regclass and a.attnum > 0 \
             and not a.attisdropped and col_description(a.attrelid, a.attnum) is null"
        );
        assert_eq!(texts(&store, &bare).await, [""; 0], "{table}");
    }
}

#[tokio::test]
async fn the_newest_remaining_stake_is_read_from_an_index() {
    let store = with_events().await;
    execute(
        &store,
        "insert into events (chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, \
             tx_hash, address, account, amount) \
         select 1, n, 0, 0, to_timestamp(n), 1, 's', '\\x01', '\\x01', '\\x02', '\\x01', 5 from generate_series(1, 5000) n; \
         analyze events",
    )
    .await;
    let sql = "explain select max(e.block_time) from events e where e.projection = 's' and e.account = '\\x01' \
        and e.address = '\\x02' and e.chain_id = 1 and e.amount is not null";
    let plan = texts(&store, sql).await.join("\n");
    assert!(plan.contains("Index Scan Backward using events_stake_idx"), "{plan}");
}
