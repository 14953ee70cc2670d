//! Selects logs of an event by the values of its indexed arguments.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use alloy_primitives::B256;

/// Allowed values of the topics behind the first, by position; `None` allows any.
pub type TopicValues = [Option<BTreeSet<B256>>; 3];

/// A set of alternatives. A log is selected if all its topics meet one of them. Without alternatives every log is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicFilter(BTreeSet<TopicValues>);

impl TopicFilter {
    /// A filter of these alternatives. If one allows every value, the others are dropped.
    pub fn new(alternatives: impl IntoIterator<Item = TopicValues>) -> Self {
        let alternatives: BTreeSet<TopicValues> = alternatives.into_iter().collect();
        let is_open = alternatives.iter().any(|values| values.iter().all(Option::is_none));
        Self(if is_open { BTreeSet::new() } else { alternatives })
    }

    /// Whether every log is selected.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a log with these topics, the first included, is selected.
    pub fn admits(&self, topics: &[B256]) -> bool {
        self.is_open() || self.0.iter().any(|values| admit(values, topics))
    }

    /// Whether this filter certainly selects every log that the other one selects. `false` may be wrong, `true` never is.
    pub fn covers(&self, other: &Self) -> bool {
        let within = |narrow: &TopicValues| self.0.iter().any(|wide| contains(wide, narrow));
        self.is_open() || (!other.is_open() && other.0.iter().all(within))
    }

    /// Whether both may select the same log.
    pub fn intersects(&self, other: &Self) -> bool {
        let meet = |one: &TopicValues| other.0.iter().any(|other| overlap(one, other));
        self.is_open() || other.is_open() || self.0.iter().any(meet)
    }

    /// The values that any alternative allows, by position: the narrowest filter that one request to a node can express.
    pub fn hull(&self) -> TopicValues {
        self.0.iter().cloned().reduce(Self::merge_values).unwrap_or_default()
    }

    /// The values that either allows, by position.
    pub fn merge_values(one: TopicValues, other: TopicValues) -> TopicValues {
        let mut others = other.into_iter();
        one.map(|one| {
            let (mut one, other) = (one?, others.next().flatten()?);
            one.extend(other);
            Some(one)
        })
    }
}

/// Whether these topics, the first included, have an allowed value at each position.
pub(super) fn admit(values: &TopicValues, topics: &[B256]) -> bool {
    let is_allowed = |(index, allowed): (usize, &Option<BTreeSet<B256>>)| {
        let topic = topics.get(index + 1);
        allowed.as_ref().is_none_or(|allowed| topic.is_some_and(|topic| allowed.contains(topic)))
    };
    values.iter().enumerate().all(is_allowed)
}

fn contains(wide: &TopicValues, narrow: &TopicValues) -> bool {
    wide.iter().zip(narrow).all(|(wide, narrow)| match (wide, narrow) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => narrow.is_subset(wide),
        (Some(_), None) => false,
    })
}

fn overlap(one: &TopicValues, other: &TopicValues) -> bool {
    one.iter().zip(other).all(|(one, other)| match (one, other) {
        (Some(one), Some(other)) => !one.is_disjoint(other),
        _ => true,
    })
}

/// `1=0x…,0x…&2=0x…|2=0x…`: alternatives, and in each the allowed values by position. Empty if every log is selected.
impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = |(index, values): (usize, &Option<BTreeSet<B256>>)| {
            let values: Vec<String> = values.as_ref()?.iter().map(ToString::to_string).collect();
            Some(format!("{}={}", index + 1, values.join(",")))
        };
        let alternative = |values: &TopicValues| {
            values.iter().enumerate().filter_map(position).collect::<Vec<_>>().join("&")
        };
        f.write_str(&self.0.iter().map(alternative).collect::<Vec<_>>().join("|"))
    }
}

/// Reads what [`TopicFilter`]'s `Display` writes. The error is the part that cannot be read.
impl FromStr for TopicFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut alternatives = Vec::new();
        for alternative in text.split('|') {
            let mut values = TopicValues::default();
            for position in alternative.split('&') {
                let unreadable = || position.to_owned();
                let (index, list) = position.split_once('=').ok_or_else(unreadable)?;
                let index = index.parse::<usize>().ok().and_then(|index| index.checked_sub(1));
                let slot = index.and_then(|index| values.get_mut(index)).ok_or_else(unreadable)?;
                let topics = list.split(',').map(|topic| topic.parse().map_err(|_| unreadable()));
                *slot = Some(topics.collect::<Result<_, String>>()?);
            }
            alternatives.push(values);
        }
        Ok(Self::new(alternatives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    fn values(positions: [&[u8]; 3]) -> TopicValues {
        positions.map(|bytes| (!bytes.is_empty()).then(|| bytes.iter().copied().map(topic).collect()))
    }

    fn filter(alternatives: &[[&[u8]; 3]]) -> TopicFilter {
        TopicFilter::new(alternatives.iter().copied().map(values))
    }

    /// A log with these topics behind the first.
    fn log(bytes: &[u8]) -> Vec<B256> {
        [0].iter().chain(bytes).copied().map(topic).collect()
    }

    #[test]
    fn a_log_meets_one_alternative_with_all_its_topics() {
        let either = filter(&[[&[1, 2], &[3], &[]], [&[], &[9], &[]]]);
        for (topics, admitted) in [
            (&[1, 3][..], true),
            (&[2, 3, 7], true),
            (&[5, 9], true),
            (&[3, 3], false),
            (&[1], false),
            (&[], false),
        ] {
            assert_eq!(either.admits(&log(topics)), admitted, "{topics:?}");
        }
        assert!(TopicFilter::default().admits(&[]));
        assert_eq!(filter(&[[&[1], &[], &[]], [&[], &[], &[]]]), TopicFilter::default());
    }

    #[test]
    fn a_wider_filter_covers_a_narrower_one_and_no_other() {
        let (open, one, two) =
            (TopicFilter::default(), filter(&[[&[1], &[], &[]]]), filter(&[[&[1, 2], &[], &[]]]));
        let both = filter(&[[&[1], &[3], &[]]]);
        for (wide, narrow) in [(&open, &one), (&two, &one), (&one, &both), (&one, &one), (&open, &open)] {
            assert!(wide.covers(narrow), "{wide} {narrow}");
        }
        for (narrow, wide) in [(&one, &open), (&one, &two), (&both, &one), (&both, &two)] {
            assert!(!narrow.covers(wide), "{narrow} {wide}");
        }
    }

    #[test]
    fn filters_without_a_common_log_do_not_meet() {
        let (one, two) = (filter(&[[&[1], &[], &[]]]), filter(&[[&[2], &[], &[]]]));
        assert!(!one.intersects(&two));
        assert!(one.intersects(&filter(&[[&[], &[2], &[]]])));
        assert!(one.intersects(&TopicFilter::default()) && TopicFilter::default().intersects(&one));
        assert!(filter(&[[&[1], &[], &[]], [&[2], &[], &[]]]).intersects(&two));
    }

    #[test]
    fn a_question_asks_for_what_any_alternative_allows() {
        assert_eq!(filter(&[[&[1], &[3], &[]], [&[2], &[], &[]]]).hull(), values([&[1, 2], &[], &[]]));
        assert_eq!(TopicFilter::default().hull(), TopicValues::default());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for filter in [TopicFilter::default(), filter(&[[&[1, 2], &[], &[3]], [&[], &[9], &[]]])] {
            assert_eq!(filter.to_string().parse(), Ok(filter));
        }
        for text in ["x", "4=0x01", "1=0x01", "0=", "1"] {
            assert!(text.parse::<TopicFilter>().is_err(), "{text}");
        }
    }
}
