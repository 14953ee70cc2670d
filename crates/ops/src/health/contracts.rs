use std::collections::BTreeMap;

use super::Board;

/// The result of the last check of a source's contracts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContractHealth {
    /// The findings for an operator, one a line; empty while all is well.
    pub findings: Vec<String>,
}

impl Board {
    /// Sets the findings about the contracts of a chain's source. Returns whether they differ from the last ones.
    pub fn set_contracts(&self, chain: &str, source: &str, findings: Vec<String>) -> bool {
        let health = ContractHealth { findings };
        let before = self.lock().contracts.insert((chain.to_owned(), source.to_owned()), health.clone());
        before.unwrap_or_default() != health
    }

    /// The last findings about contracts, by chain and source.
    pub fn contracts(&self) -> BTreeMap<(String, String), ContractHealth> {
        self.lock().contracts.clone()
    }
}
