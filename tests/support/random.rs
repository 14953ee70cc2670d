//! Random numbers that can be repeated.

use std::io::Write;
use std::time::SystemTime;

/// The seed of a random test: `PROPERTY_SEED` of the environment, or a new one each time. It is printed past the test
/// harness, which hides the output of passing tests.
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("PROPERTY_SEED").ok();
    let seed = match given {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("PROPERTY_SEED is a number, not {text}")),
        None => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |age| u64::from(age.subsec_micros())),
    };
    drop(writeln!(std::io::stderr(), "{test}: PROPERTY_SEED={seed}"));
    seed
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same sequence for a seed on every machine and in every version, so that a
/// seed in an old report stays useful.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True with this probability in percent.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("as short as the slice")]
    }
}
