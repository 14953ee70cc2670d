use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};

use super::topic_filter::{TopicFilter, TopicValues, admit};

/// The contracts that a source follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressSet {
    /// Every contract of the chain.
    Any,
    /// These contracts.
    Only(BTreeSet<Address>),
}

impl AddressSet {
    /// Whether the filter includes `address`.
    pub fn contains(&self, address: &Address) -> bool {
        match self {
            Self::Any => true,
            Self::Only(set) => set.contains(address),
        }
    }

    /// Whether some contract is in both filters.
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Only(set)) | (Self::Only(set), Self::Any) => !set.is_empty(),
            (Self::Any, Self::Any) => true,
            (Self::Only(a), Self::Only(b)) => !a.is_disjoint(b),
        }
    }
}

/// The filter of `eth_getLogs`: one request for all sources of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// `None` requests every contract.
    pub addresses: Option<BTreeSet<Address>>,
    /// First topics; `None` requests every event (needed for anonymous ones).
    pub topic0: Option<BTreeSet<B256>>,
    /// Allowed values of the other topics.
    pub values: TopicValues,
}

impl LogFilter {
    /// The filter that covers both. It may match logs that neither matches alone; `decode` ignores them.
    pub fn merge(self, other: Self) -> Self {
        Self {
            addresses: union(self.addresses, other.addresses),
            topic0: union(self.topic0, other.topic0),
            values: TopicFilter::merge_values(self.values, other.values),
        }
    }

    /// Whether a node may return a log with this address and first topic. Some nodes ignore the other topics of a request.
    pub fn admits(&self, address: &Address, topic0: Option<&B256>) -> bool {
        self.addresses.as_ref().is_none_or(|set| set.contains(address))
            && self.topic0.as_ref().is_none_or(|set| topic0.is_some_and(|topic| set.contains(topic)))
    }

    /// Whether this filter requests a log with this address and these topics.
    pub fn wants(&self, address: &Address, topics: &[B256]) -> bool {
        self.admits(address, topics.first()) && admit(&self.values, topics)
    }

    /// Whether the values of topics behind the first are restricted.
    pub fn has_values(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}

fn union<T: Ord>(a: Option<BTreeSet<T>>, b: Option<BTreeSet<T>>) -> Option<BTreeSet<T>> {
    let (mut a, b) = (a?, b?);
    a.extend(b);
    Some(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merged_filter_admits_what_either_admitted() {
        let address = |n| Address::repeat_byte(n);
        let a = LogFilter {
            addresses: Some([address(1)].into()),
            topic0: Some([B256::repeat_byte(1)].into()),
            values: [Some([B256::repeat_byte(7)].into()), Some([B256::repeat_byte(8)].into()), None],
        };
        let any = LogFilter {
            addresses: None,
            topic0: Some([B256::repeat_byte(2)].into()),
            values: [Some([B256::repeat_byte(9)].into()), None, None],
        };
        let topics = |bytes: [u8; 3]| bytes.map(B256::repeat_byte);
        assert!(
            a.wants(&address(1), &topics([1, 7, 8])) && a.admits(&address(1), Some(&B256::repeat_byte(1)))
        );
        assert!(!a.wants(&address(1), &topics([1, 8, 8])) && !a.wants(&address(1), &topics([1, 7, 8])[..2]));
        let both = a.merge(any);
        assert!(both.wants(&address(1), &topics([1, 9, 1])) && !both.wants(&address(1), &topics([1, 1, 8])));
        assert_eq!(both.addresses, None);
        assert!(both.admits(&address(9), Some(&B256::repeat_byte(1))));
        assert!(!both.admits(&address(1), Some(&B256::repeat_byte(3))));
        assert!(!both.admits(&address(1), None));
    }
}
