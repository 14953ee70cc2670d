//! Messages reach receivers that answer each one: once by their id, in order for each thing, whatever the receiver does.

mod alerts;
mod commands;
mod delivery;
mod end_to_end;
mod figures;
mod held;
mod refusals;
mod tls;

use std::time::{Duration, Instant};

use chainflume_devchain::{DEMO_TOKEN, Server};
use sqlx::postgres::PgPool;

use crate::flume::{WAIT_LIMIT, config, connect, devchain, source};
use crate::postgres;
use crate::receiver::{FAST, Receiver, webhook};
use crate::relays::Relays;
use crate::wait::until;

/// A database, and a configuration of webhooks on it. Messages are written by the test.
pub struct Ground {
    pub url: String,
    pub pool: PgPool,
    pub config: String,
    _node: Server,
}

impl Ground {
    pub async fn new(webhooks: &str) -> Self {
        let url = postgres::database().await;
        let pool = connect(&url).await;
        let (_, node) = devchain(1, 0).await;
        let config = config(&node, "", &source("token", "erc20", DEMO_TOKEN, 0)) + webhooks;
        Self { url, pool, config, _node: node }
    }

    pub async fn start(&self) -> Relays {
        Relays::start(&self.config, &self.url).await
    }

    /// Commits a message of `type` for each of these things.
    pub async fn publish(&self, message_type: &str, about: &[&str]) {
        for about in about {
            let message = format!(
                "'{{\"id\":\"00000000-0000-8000-8000-000000000000\",\"seq\":' || h.seq || ',\"type\":\"{message_type}\",\
                 \"state\":\"confirmed\",\"aggregateType\":\"user\",\"aggregateId\":\"{about}\",\
                 \"metadata\":{{\"userId\":null,\"note\":\"\\u0000\"}}}}'"
            );
            let sql = format!(
                "with h as (update outbox_head set seq = seq + 1 returning seq) \
                 insert into outbox (seq, chain_id, aggregate_type, type, state, message) \
                 select h.seq, 31337, 'user', '{message_type}', 'confirmed', {message} from h"
            );
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await.expect("writes");
        }
    }

    /// Commits a message of `message_type` about a token for each of these accounts.
    pub async fn publish_of_token(&self, message_type: &str, accounts: &[&str]) {
        for account in accounts {
            sqlx::query(
                r#"with h as (update outbox_head set seq = seq + 1 returning seq)
                insert into outbox (seq, chain_id, aggregate_type, type, state, account, message)
                select h.seq, 31337, 'token', $1, 'confirmed', convert_to($2, 'utf8'), json_build_object(
                    'id', h.seq::text, 'seq', h.seq, 'type', $1, 'state', 'confirmed', 'aggregateType', 'token',
                    'aggregateId', '0xaa', 'account', $2, 'metadata', json_build_object('userId', null)) from h"#,
            )
            .bind(message_type)
            .bind(account)
            .execute(&self.pool)
            .await
            .expect("writes");
        }
    }

    /// How many rows there are.
    pub async fn count(&self, what: &str) -> i64 {
        let sql = format!("select count(*) from {what}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("a count")
    }

    /// Waits until there are so many rows.
    pub async fn until_count(&self, what: &str, wanted: i64) {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let found = self.count(what).await;
            if found == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {found}, and {wanted} are wanted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the receiver has so many messages.
    pub async fn until_taken(&self, receiver: &Receiver, wanted: usize) {
        until(&format!("{wanted} are taken"), || receiver.taken().len() == wanted).await;
    }
}
