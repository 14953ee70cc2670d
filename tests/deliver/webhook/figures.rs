//! How fast held messages leave. Nothing is asserted about time: machines differ. `make figures-webhook` runs it.

use std::time::{Duration, Instant};

use super::{Ground, webhook};
use crate::receiver::{Receiver, Reply};
use crate::wait::until;

const HELD: i64 = 300_000;
const WINDOW: Duration = Duration::from_secs(20);

/// Waits of a day: only what is due is tried.
const PATIENT: &str = "retry_schedule = [\"24h\"]\n";

/// So many messages wait, about so many things, and the first about each is due.
async fn hold(ground: &Ground, things: i64) {
    let sql = "insert into deliveries \
         (sink, seq, aggregate_type, aggregate_id, order_key, type, state, message, created_at, due_at) \
         select 'webhook:crm', n, 'token', 't' || n % $2, 'token t' || n % $2, 'erc20.transfer', 'confirmed', \
             '{\"seq\":' || n || ',\"aggregateType\":\"token\",\"aggregateId\":\"t' || n % $2 || '\"}', now(), \
             case when n <= $2 then now() end from generate_series(1, $1) n";
    sqlx::query(sql).bind(HELD).bind(things).execute(&ground.pool).await.expect("writes");
    sqlx::query("update outbox_head set seq = $1").bind(HELD).execute(&ground.pool).await.expect("writes");
    sqlx::query("insert into sink_cursors (sink, seq) values ('webhook:crm', $1)")
        .bind(HELD)
        .execute(&ground.pool)
        .await
        .expect("writes");
    sqlx::query("insert into sink_states (sink, held) values ('webhook:crm', $1)")
        .bind(HELD)
        .execute(&ground.pool)
        .await
        .expect("writes");
    sqlx::query("analyze deliveries").execute(&ground.pool).await.expect("analyzes");
}

async fn figure(what: &str, things: i64, refused: bool) {
    let receiver = Receiver::start().await;
    receiver.rule(move |got| Reply::status(if refused && got.seq() % 2 == 1 { 422 } else { 204 }));
    let ground = Ground::new(&webhook("crm", &receiver, PATIENT)).await;
    hold(&ground, things).await;
    let relays = ground.start().await;
    until("it is tried", || !receiver.got().is_empty()).await;
    let (begun, before) = (Instant::now(), receiver.taken().len());
    tokio::time::sleep(WINDOW).await;
    let taken = receiver.taken().len() - before;
    let rate = taken as f64 / begun.elapsed().as_secs_f64();
    println!("{HELD} messages held, {what}: {rate:.1} deliveries/s");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn held_messages_about_one_thing() {
    figure("about one thing", 1, false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn held_messages_about_many_things() {
    figure("about 300,000 things", HELD, false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn held_messages_of_which_half_are_refused() {
    figure("about 300,000 things, half of them refused", HELD, true).await;
}
