use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chainflume_devchain::{DevChain, Effect, MinerSettings, Rule, Server};

use crate::daemon::{Daemon, Home, agrees, postmaster};
use crate::flume::{all_sources, connect, devchain};
use crate::wait::until;
use crate::{journal, postgres};

/// Kills of each kind.
const KILLS: u32 = 12;
const HISTORY: u64 = 3_000;

/// A different moment each run; the seed is printed for the one that fails.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| u64::from(now.subsec_nanos()) | 1);
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// Up to `millis`.
    fn moment(&mut self, millis: u64) -> Duration {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % millis)
    }
}

async fn until_open(daemon: &mut Daemon) {
    daemon.until_printed("database is ready").await;
}

/// A chain whose history takes a while, and a daemon's home on it.
async fn slow_history(seed: u64, url: Option<&str>) -> (DevChain, Server, Home) {
    let (chain, server) = devchain(seed, HISTORY).await;
    let home = Home::new(&server, &all_sources(), url);
    home.rewrite(
        "chain_id = 31337",
        "chain_id = 31337\nhistory = { commit_logs = 0, initial_range = 20, max_range = 20 }",
    );
    (chain, server, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_costs_nothing() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    journal::install(&pool).await;
    let (chain, _server, home) = slow_history(41, Some(&url)).await;
    let slow = chain.faults().add(Rule::on("eth_getLogs", Effect::Delay(Duration::from_millis(60))));
    let mut dice = Dice::new();
    let mut in_history = 0;
    for _ in 0..KILLS {
        let mut daemon = home.start();
        until_open(&mut daemon).await;
        tokio::time::sleep(dice.moment(250)).await;
        daemon.kill_9().await;
        let sql = "select coalesce(min(block_number), 0) from checkpoints";
        let tip: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("a number");
        in_history += u32::from(tip < i64::try_from(HISTORY).expect("small") - 16);
    }
    assert!(in_history > KILLS / 2, "history was over after {in_history} kills");
    slow.lift();
    home.rewrite("max_range = 20 ", "max_range = 1000 ");
    let daemon = home.start();
    daemon.until_tip(HISTORY - 2).await;
    agrees(&chain, &url, HISTORY - 2).await;
    let lines = journal::lines(&pool).await;
    assert_eq!(lines.iter().filter(|line| line.starts_with("undone") || line.contains("back")).count(), 0);
    daemon.kill_9().await;

    let miner = chain.run(MinerSettings {
        block_time: Duration::from_millis(25),
        reorg_every: Some(6),
        max_reorg_depth: 6,
    });
    for _ in 0..KILLS {
        let mut daemon = home.start();
        until_open(&mut daemon).await;
        tokio::time::sleep(dice.moment(400)).await;
        daemon.kill_9().await;
    }
    drop(miner);
    let tip = chain.head().number - 2;
    let daemon = home.start();
    daemon.until_tip(tip).await;
    daemon.stop_well().await;
    agrees(&chain, &url, tip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_its_private_database_or_without_it_starts_again() {
    let (chain, _server, home) = slow_history(42, None).await;
    let slow = chain.faults().add(Rule::on("eth_getLogs", Effect::Delay(Duration::from_millis(60))));
    let mut dice = Dice::new();
    for both in [true, false, true] {
        let mut daemon = home.start();
        until_open(&mut daemon).await;
        tokio::time::sleep(dice.moment(300)).await;
        let data = home.path("data");
        let postmaster = postmaster(&data).expect("it runs");
        if both {
            // The shell that would end the server in order goes too.
            let pids = [daemon.pid(), postmaster].into_iter().chain(leashes(postmaster));
            kill_9(pids);
        }
        daemon.kill_9().await;
        if both {
            assert!(data.join("postgres/postmaster.pid").exists(), "the pid file is stale");
        }
    }
    slow.lift();
    home.rewrite("max_range = 20 ", "max_range = 1000 ");
    let daemon = home.start();
    daemon.until_tip(HISTORY - 2).await;
    agrees(&chain, &home.private_url(), HISTORY - 2).await;

    // Live, the server alone dies and is started again under the daemon.
    kill_9(postmaster(&home.path("data")));
    chain.mine(3);
    daemon.until_tip(HISTORY + 1).await;
    agrees(&chain, &home.private_url(), HISTORY + 1).await;
    daemon.stop_well().await;
    gone(&home).await;
}

/// The shells whose last word is this pid: they would end the server when the daemon dies.
fn leashes(postmaster: u32) -> Vec<u32> {
    let last_word = format!("\0{postmaster}\0");
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with("/bin/sh\0") && words.ends_with(&last_word)
    })
    .collect()
}

fn kill_9(pids: impl IntoIterator<Item = u32>) {
    let pids = pids.into_iter().map(|pid| pid.to_string());
    let killed = std::process::Command::new("/bin/kill").arg("-9").args(pids).status();
    assert!(killed.expect("kill is everywhere").success());
}

/// Nothing of the server is left.
async fn gone(home: &Home) {
    let file = home.path("data/postgres/postmaster.pid");
    until("the server of a daemon that was killed ends", || !file.exists()).await;
}
