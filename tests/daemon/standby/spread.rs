//! Chains of one configuration are spread over the instances.

use std::fmt::Write;

use chainflume_devchain::{DEMO_TOKEN, DevChain, Settings};

use super::*;
use crate::flume::source;
use crate::wait::until_async;

const CHAINS: u64 = 4;

/// Chains 1 to 4, each with a token.
async fn chains() -> (Vec<(DevChain, Server)>, String) {
    let (mut chains, mut tables) = (Vec::new(), String::new());
    for chain_id in 1..=CHAINS {
        let chain =
            DevChain::new(Settings { seed: 420 + chain_id, chain_id, history: 20, ..Default::default() });
        let server = chain.serve("127.0.0.1:0").await.expect("a free port");
        let (name, http) = (format!("c{chain_id}"), server.http_url());
        write!(
            tables,
            "[[chain]]\nname = \"{name}\"\nchain_id = {chain_id}\nhttp = \"{http}\"\nblock_time = \"200ms\"\n\
             reorg_window = 16\npoll_interval = \"200ms\"\nmax_head_age = \"0s\"\n{}",
            source(&format!("token{chain_id}"), "erc20", DEMO_TOKEN, 0)
                .replace("\"dev\"", &format!("\"{name}\""))
        )
        .expect("a string takes all");
        chains.push((chain, server));
    }
    (chains, tables)
}

/// Chains an instance leads, and the tip of each.
fn led(report: &Value) -> usize {
    let chains = report["chains"].as_object().expect("chains");
    chains.values().filter(|chain| chain["state"] == "live").count()
}

async fn until_leads(daemon: &Daemon, count: usize) {
    daemon.until(&format!("leads {count}"), |status, report| status == 200 && led(report) == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_leads_its_share_and_all_when_it_is_alone() {
    let url = postgres::empty_database().await;
    let (chains, tables) = chains().await;
    let home = || {
        let home = Home::bare();
        home.write(&format!("[standby]\nlease = \"1s\"\n{tables}"), Some(&url));
        home
    };
    let (one, two) = (home(), home());
    let first = one.start();
    until_leads(&first, 4).await;
    let second = two.start();
    until_leads(&second, 2).await;
    until_leads(&first, 2).await;
    first.kill_9().await;
    until_leads(&second, 4).await;
    let first = one.start();
    until_leads(&first, 2).await;
    until_leads(&second, 2).await;
    for (chain, _) in &chains {
        chain.mine(5);
    }
    let pool = connect(&url).await;
    let sql = "select count(*) from checkpoints where block_number = 23";
    let stored = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&pool).await.expect("a count");
    until_async("every chain has a leader", async || stored().await >= 4).await;
    first.stop_well().await;
    until_leads(&second, 4).await;
    second.stop_well().await;
}
