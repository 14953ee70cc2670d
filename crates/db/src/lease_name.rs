use std::fmt;

const CHAIN: &str = "chain ";

/// Name of a lease, as the table `leases` has it. A name that another version of the program made stays as it is. Names
/// are ordered as their texts: all instances, of whatever version, compute the same distribution of chains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct LeaseName(String);

impl LeaseName {
    /// Of the writer of a chain.
    pub fn chain(chain_id: u64) -> Self {
        Self(format!("{CHAIN}{chain_id}"))
    }

    /// Of the reader that compares a chain's stored blocks with the node's.
    pub fn audit(chain_id: u64) -> Self {
        Self(format!("audit {chain_id}"))
    }

    /// Of the follower of a chain's transactions.
    pub fn follow(chain_id: u64) -> Self {
        Self(format!("follow {chain_id}"))
    }

    /// Of the relay of a sink.
    pub fn sink(sink: &str) -> Self {
        Self(format!("sink {sink}"))
    }

    /// Of the task that trims the outbox.
    pub fn outbox() -> Self {
        Self("outbox".to_owned())
    }

    /// Of the task that publishes by schedules.
    pub fn schedule() -> Self {
        Self("schedule".to_owned())
    }

    /// Of the task that compares balances with limits.
    pub fn limits() -> Self {
        Self("limits".to_owned())
    }

    /// A name that was read from the table `leases`.
    pub fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it is the lease of a chain's writer.
    pub fn is_of_chain(&self) -> bool {
        self.0.starts_with(CHAIN)
    }

    /// The chain, if it is the lease of a chain's writer.
    pub fn chain_id(&self) -> Option<u64> {
        self.0.strip_prefix(CHAIN)?.parse().ok()
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_of_a_chain_alone_names_a_chain() {
        assert_eq!(LeaseName::stored("chain 31337").chain_id(), Some(31_337));
        assert_eq!(LeaseName::chain(1), LeaseName::stored("chain 1"));
        let others =
            [LeaseName::audit(1), LeaseName::follow(1), LeaseName::sink("chain 1"), LeaseName::outbox()];
        for other in others {
            assert_eq!((other.is_of_chain(), other.chain_id()), (false, None), "{other}");
        }
    }
}
