//! Decides which block 0 is the chain's. Two chains may have the same id, and a provider can be on the wrong one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;

use crate::error::ChainError;

/// Block 0 as each provider of a chain returned it, and the block 0 that was settled.
#[derive(Default)]
pub(crate) struct Genesis(Mutex<GenesisState>);

#[derive(Default)]
struct GenesisState {
    by_provider: BTreeMap<String, B256>,
    /// The hash, and where it comes from.
    settled: Option<(B256, &'static str)>,
}

impl Genesis {
    /// Records the answer of a provider.
    ///
    /// # Errors
    /// [`ChainError::WrongGenesis`] where another block 0 is settled.
    pub(crate) fn record(&self, provider: &str, found: B256) -> Result<(), ChainError> {
        let mut known = self.lock();
        known.by_provider.insert(provider.to_owned(), found);
        known.check(provider)
    }

    /// Checks that a provider has not returned another block 0 than the settled one.
    ///
    /// # Errors
    /// [`ChainError::WrongGenesis`].
    pub(crate) fn check(&self, provider: &str) -> Result<(), ChainError> {
        self.lock().check(provider)
    }

    /// Whether a provider has returned block 0 before.
    pub(crate) fn was_recorded_by(&self, provider: &str) -> bool {
        self.lock().by_provider.contains_key(provider)
    }

    /// Settles block 0 for this run: the stored hash, or else the hash that all providers which answered have
    /// returned. If they disagree, none of them decides, not even the preferred one.
    ///
    /// # Errors
    /// [`ChainError::GenesisDiffers`].
    pub(crate) fn agree_on(&self, stored: Option<B256>) -> Result<(), ChainError> {
        let mut known = self.lock();
        if known.settled.is_some() {
            return Ok(());
        }
        if let Some(stored) = stored {
            known.settled = Some((stored, "as stored in the database"));
            return Ok(());
        }
        let mut all = known.by_provider.values();
        let Some(first) = all.next().copied() else { return Ok(()) };
        if all.any(|other| *other != first) {
            return Err(known.differ());
        }
        known.settled = Some((first, "all providers agreed on it before anything was stored"));
        Ok(())
    }

    /// The hash of the settled block 0.
    pub(crate) fn settled(&self) -> Option<B256> {
        self.lock().settled.map(|(hash, _)| hash)
    }

    fn lock(&self) -> MutexGuard<'_, GenesisState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GenesisState {
    fn check(&self, provider: &str) -> Result<(), ChainError> {
        let (Some(found), Some((expected, by))) = (self.by_provider.get(provider), self.settled) else {
            return Ok(());
        };
        if *found == expected {
            return Ok(());
        }
        Err(ChainError::WrongGenesis { host: provider.to_owned(), found: *found, expected, by })
    }

    fn differ(&self) -> ChainError {
        let answer = |(provider, hash): (&String, &B256)| format!("{provider} has {hash}");
        ChainError::GenesisDiffers {
            answers: self.by_provider.iter().map(answer).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: B256 = B256::repeat_byte(1);
    const OTHER: B256 = B256::repeat_byte(2);

    fn genesis_of(all: &[(&str, B256)]) -> Genesis {
        let genesis = Genesis::default();
        for (provider, hash) in all {
            genesis.record(provider, *hash).expect("nothing is settled");
        }
        genesis
    }

    #[test]
    fn an_agreed_genesis_stays_and_a_later_contradiction_is_wrong() {
        let genesis = genesis_of(&[("one", OURS), ("other", OURS)]);
        genesis.agree_on(None).expect("they agree");
        assert_eq!(genesis.settled(), Some(OURS));
        let wrong = genesis.record("late", OTHER).expect_err("it is another").to_string();
        assert!(wrong.contains(&OTHER.to_string()) && wrong.contains(&OURS.to_string()), "{wrong}");
        assert!(genesis.check("one").is_ok() && genesis.check("silent").is_ok());
    }

    #[test]
    fn where_they_differ_nothing_is_settled_and_each_is_named() {
        let genesis = genesis_of(&[("one", OURS), ("other", OTHER)]);
        let error = genesis.agree_on(None).expect_err("they differ").to_string();
        assert!(error.contains(&format!("one has {OURS}, other has {OTHER}")), "{error}");
        assert_eq!(genesis.settled(), None);
        // The one that was wrong is corrected.
        genesis.record("other", OURS).expect("nothing is settled");
        genesis.agree_on(None).expect("they agree");
    }

    #[test]
    fn what_is_stored_needs_no_agreement() {
        let genesis = genesis_of(&[("one", OTHER), ("other", OURS)]);
        genesis.agree_on(Some(OURS)).expect("it is known");
        assert!(genesis.check("one").is_err() && genesis.check("other").is_ok());
    }
}
