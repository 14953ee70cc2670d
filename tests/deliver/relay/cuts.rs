//! Connections break at the worst moments of a commit and of an append, and nothing is lost or doubled.

use chainflume_devchain::{DevChain, Server};
use sqlx::postgres::PgPool;

use super::end_to_end::{disturb, until_confirmed_is_stored};
use super::{Relays, canonical, fold, fold_users, published, sources, users};
use crate::daemon::agrees;
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::proxy::{Point, Proxy};
use crate::random::seed;
use crate::redis_server::RedisServer;

/// A daemon that knows its database and its Redis through proxies alone.
struct House {
    url: String,
    pool: PgPool,
    postgres: Proxy,
    redis: Proxy,
    server: RedisServer,
    chain: DevChain,
    _node: Server,
    flume: Flume,
    relays: Relays,
}

impl House {
    async fn new(seed: u64) -> Self {
        let (url, server) = (postgres::database().await, RedisServer::start());
        let pool = connect(&url).await;
        let (postgres, behind) = Proxy::before_postgres(&url).await;
        let (redis, redis_url) = Proxy::before_redis(server.port).await;
        let (chain, node) = devchain(seed, 20).await;
        let config = config(&node, "", &sources(&redis_url));
        let flume = Flume::start(&config, &behind).await;
        let relays = Relays::start(&config, &behind).await;
        let house = Self { url, pool, postgres, redis, server, chain, _node: node, flume, relays };
        house.is_whole().await;
        house
    }

    /// Every row is what the chain has, and the streams have exactly the events and users that are there.
    async fn is_whole(&self) {
        until_confirmed_is_stored(&self.flume, &self.chain).await;
        self.relays.until_all("redis").await;
        agrees(&self.chain, &self.url, self.chain.head().number - 2).await;
        let messages = published(&self.server).await;
        assert_eq!(fold(&messages), canonical(&self.pool).await);
        assert_eq!(fold_users(&messages), Ok(users(&self.pool).await));
        let published: Vec<String> = sqlx::query_scalar("select message from outbox order by seq")
            .fetch_all(&self.pool)
            .await
            .expect("reads");
        assert_eq!(messages, published, "each message once, as it was committed");
    }

    async fn stop(self) {
        self.relays.stop().await;
        self.flume.stop().await;
    }
}

/// What is committed next.
#[derive(Clone, Copy)]
enum Act {
    Advance,
    /// And an advance after it.
    Rewind,
}

impl Act {
    fn on(self, chain: &DevChain) {
        match self {
            Self::Advance => chain.mine(3),
            Self::Rewind => chain.reorg(5, 7),
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_point_of_a_commit_loses_and_doubles_nothing() {
    let house = House::new(31).await;
    let mut made = Vec::new();
    for (act, passing) in [(Act::Advance, 0), (Act::Rewind, 0), (Act::Rewind, 1)] {
        for point in Point::ALL {
            house.postgres.cut(point, passing);
            act.on(&house.chain);
            house.is_whole().await;
            made.push(point);
            assert_eq!(house.postgres.made(), made, "it was cut");
        }
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_point_of_an_append_loses_and_doubles_nothing() {
    let house = House::new(32).await;
    let mut made = Vec::new();
    for act in [Act::Advance, Act::Rewind] {
        for point in Point::ALL {
            house.redis.cut(point, 0);
            act.on(&house.chain);
            house.is_whole().await;
            made.push(point);
            assert_eq!(house.redis.made(), made, "it was cut");
        }
    }
    house.stop().await;
}

/// Cuts that a server has at least in a random run.
const CUTS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_random_lose_and_double_nothing() {
    let seed = seed("cuts");
    let house = House::new(seed).await;
    // A step of the relay makes several commits and two appends, and a cut of any of them fails the step. At these rates
    // most steps succeed. With rarer success the pauses between tries grow to 15 s each, and a run has no bound.
    house.postgres.cut_at_random(seed, 16);
    house.redis.cut_at_random(seed + 1, 8);
    let enough = |made: Vec<Point>| made.len() >= CUTS && Point::ALL.iter().all(|point| made.contains(point));
    let mut round = 0;
    while !(enough(house.postgres.made()) && enough(house.redis.made())) || round < 12 {
        disturb(&house.chain, round);
        until_confirmed_is_stored(&house.flume, &house.chain).await;
        round += 1;
    }
    house.postgres.cut_at_random(0, 0);
    house.redis.cut_at_random(0, 0);
    house.is_whole().await;
    house.stop().await;
}
