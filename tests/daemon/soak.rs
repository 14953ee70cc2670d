//! A long life in bad weather: the real binary follows a chain that reorganises, by a node, a database and a Redis that fail in
//! every way there is, and is killed now and then. At the end every row and every message is compared with the chain.
//! `make soak` runs it for half an hour; a short one is among the tests.
//!
//! `SOAK_MINUTES`, `SOAK_BLOCKS_PER_SECOND`, `SOAK_FAULTS` (percent of all calls, commits and appends),
//! `SOAK_TROUBLE_SECONDS` (from one trouble to the next, and how long one lasts at most) and `SOAK_SEED` change it, `SOAK_LOG` names
//! a file for the logs of the daemons. A seed decides what happens and not when: where the daemon is at that moment is the
//! machine's.

mod calls;
mod deck;
mod figures;
mod house;
mod troubles;
mod verdict;

use std::str::FromStr;
use std::time::{Duration, Instant};

use figures::Figures;
use house::House;
use troubles::Troubles;

use crate::random;

/// How bad the weather is, and for how long.
#[derive(Clone, Copy, Debug)]
struct Soak {
    blocks: u64,
    blocks_per_second: u64,
    /// Of a hundred calls, commits and appends how many go wrong.
    faults: u64,
    /// Seconds from one trouble to the next on average, and how long one lasts at most.
    trouble_seconds: f64,
    seed: u64,
    /// Whether the daemon is a copy of the binary: half an hour is long enough for another build.
    copied: bool,
}

impl Soak {
    fn from_environment() -> Self {
        let blocks_per_second = from_environment("SOAK_BLOCKS_PER_SECOND", 5);
        let seconds = from_environment("SOAK_MINUTES", 30.0) * 60.0;
        Self {
            blocks: Duration::from_secs_f64(seconds * whole(blocks_per_second)).as_secs(),
            blocks_per_second,
            faults: from_environment("SOAK_FAULTS", 1),
            trouble_seconds: from_environment("SOAK_TROUBLE_SECONDS", 8.0),
            seed: from_environment("SOAK_SEED", random::seed("soak")),
            copied: true,
        }
    }

    /// Ticks a trouble lasts at most, each a block.
    fn longest(&self) -> u64 {
        Duration::from_secs_f64(self.trouble_seconds * whole(self.blocks_per_second)).as_secs().max(1)
    }
}

fn from_environment<T: FromStr>(name: &str, default: T) -> T {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour; `make soak` runs it"]
async fn half_an_hour_of_trouble_loses_and_doubles_nothing() {
    live(Soak::from_environment()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_every_kind_loses_and_doubles_nothing() {
    let seed = random::seed("soak");
    live(Soak { blocks: 100, blocks_per_second: 5, faults: 4, trouble_seconds: 1.5, seed, copied: false })
        .await;
}

/// Lives through it, up to `blocks` and until every kind of trouble has been, and compares.
async fn live(soak: Soak) {
    println!("{soak:?}");
    let started = Instant::now();
    let mut house = House::new(soak).await;
    house.rest(house.confirmed()).await;
    let mut troubles = Troubles::new(soak, &house);
    let mut figures = Figures::default();
    let mut clock =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(soak.blocks_per_second).expect("few"));
    let mut block = 0;
    while block < soak.blocks || !troubles.lacking(&house).is_empty() {
        // Each kind comes once in a deal: twice the time is more than enough for what was long, and a minute for what was not.
        let patience = 2 * soak.blocks + 60 * soak.blocks_per_second;
        assert!(block < patience, "never happened: {:?}", troubles.lacking(&house));
        clock.tick().await;
        house.mine();
        troubles.turn(&mut house, block).await;
        block += 1;
        if block % soak.blocks_per_second == 0 {
            house.look_after().await;
            figures.sample(&house).await;
        }
        if block % (60 * soak.blocks_per_second) == 0 {
            let minute = block / (60 * soak.blocks_per_second);
            println!("minute {minute}: {}", figures.minute(&house, &troubles.tally(&house)).await);
        }
    }
    troubles.end(&mut house).await;
    let verdict = verdict::judge(&mut house).await;
    println!("{:.1} minutes, {block} blocks; {}", started.elapsed().as_secs_f64() / 60.0, figures.whole());
    println!("{:?}", troubles.tally(&house));
    println!("{verdict}");
    assert!(verdict.differences.is_empty(), "{} differences", verdict.differences.len());
}

#[expect(clippy::cast_precision_loss, reason = "counts of blocks and bytes, for people")]
fn whole(number: u64) -> f64 {
    number as f64
}
