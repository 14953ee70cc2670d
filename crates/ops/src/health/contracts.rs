use std::collections::BTreeMap;

use super::Board;

/// What the last look at the contracts of a source found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContractHealth {
    /// What an operator should look at, one finding a line; empty while all is well.
    pub findings: Vec<String>,
}

impl Board {
    /// What a look at the contracts of a chain's source found. Returns whether it differs from the look before.
    pub fn set_contracts(&self, chain: &str, source: &str, findings: Vec<String>) -> bool {
        let health = ContractHealth { findings };
        let before = self.lock().contracts.insert((chain.to_owned(), source.to_owned()), health.clone());
        before.unwrap_or_default() != health
    }

    /// What the last looks at contracts found, by chain and source.
    pub fn contracts(&self) -> BTreeMap<(String, String), ContractHealth> {
        self.lock().contracts.clone()
    }
}
