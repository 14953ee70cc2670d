//! At rest: every row and every message held against the chain.

use std::fmt;

use chainflume::app;
use sqlx::postgres::PgPool;

use super::house::{House, fresh};
use crate::consumer::{self, fold_users, published, users};
use crate::flume::{Flume, connect};
use crate::fold::{fold, held};
use crate::relays;
use crate::{postgres, tables};

#[derive(Default)]
pub struct Verdict {
    /// What was compared, and how much of it.
    compared: Vec<String>,
    pub differences: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.compared.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.differences.iter().take(50).try_for_each(|line| writeln!(f, "  {line}"))?;
        match self.differences.len() {
            0 => f.write_str("verdict: no difference"),
            count => write!(f, "verdict: {count} DIFFERENCES"),
        }
    }
}

/// Lets the chain come to rest, stops the daemon, and compares.
pub async fn judge(house: &mut House) -> Verdict {
    house.start();
    house.chain.mine(3);
    let tip = house.confirmed();
    let mut verdict = Verdict::default();
    house.rest(tip).await;
    if let Some(daemon) = house.daemon.take() {
        daemon.until_tip(tip).await;
        consumer::until_all(&house.pool, &house.redis_server).await;
        house.note(&daemon, "stopped");
        let (code, took) = daemon.stop().await;
        verdict.check(code == Some(0), || format!("it stopped with {code:?} after {took:?}"));
    }
    verdict.differences.append(&mut house.complaints);
    rows(house, tip, &mut verdict).await;
    every_table(house, tip, &mut verdict).await;
    messages(house, &mut verdict).await;
    verdict
}

impl Verdict {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.differences.push(what());
        }
    }
}

/// By the chain's own logs and its ledger.
async fn rows(house: &House, tip: u64, verdict: &mut Verdict) {
    let store = relays::connect(&house.url).await;
    let difference = app::compare(&house.chain, &store, tip).await.expect("the database can be read");
    store.close().await;
    verdict.compared.extend(difference.counts().map(str::to_owned));
    verdict.differences.extend(difference.lines().map(str::to_owned));
}

/// By a sync of the chain as it is now, in good weather.
async fn every_table(house: &House, tip: u64, verdict: &mut Verdict) {
    let url = postgres::database().await;
    let node = house.node.as_ref().expect("it is back");
    let flume = Flume::start(&fresh(node), &url).await;
    flume.until_tip("dev", tip).await;
    flume.stop().await;
    let (found, expected) = (tables::all(&house.pool).await, tables::all(&connect(&url).await).await);
    let rows: usize = expected.values().map(Vec::len).sum();
    verdict.compared.push(format!("{:<16} {rows} rows compared with a fresh sync", "every table"));
    verdict.differences.extend(tables::differences(&found, &expected));
}

/// The streams are the outbox, and what a consumer makes of them is what the tables hold.
async fn messages(house: &House, verdict: &mut Verdict) {
    let (messages, outbox) = (published(&house.redis_server).await, outbox(&house.pool).await);
    verdict.compared.push(format!("{:<16} {} compared", "messages", outbox.len()));
    let count = messages.len();
    verdict.check(messages == outbox, || {
        format!("the streams are not the outbox: {count} messages, {}", outbox.len())
    });
    let mut connection = house.pool.acquire().await.expect("a connection");
    let held = held(&mut connection).await.expect("reads");
    match fold(&messages) {
        Ok(folded) => verdict.check(folded == held, || "the messages do not fold to the events".to_owned()),
        Err(what) => verdict.differences.push(what),
    }
    match fold_users(&messages) {
        Ok(folded) => {
            let users = users(&house.pool).await;
            verdict.check(folded == users, || "the messages do not fold to the users".to_owned());
        }
        Err(what) => verdict.differences.push(what),
    }
}

async fn outbox(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select message from outbox order by seq").fetch_all(pool).await.expect("reads")
}
