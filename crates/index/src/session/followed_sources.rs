use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chainflume_core::domain::{ChainComparison, SourceComparison, SourceDifference};
use chainflume_ops::health::UnreadHealth;

/// Pause after an error with a source's gap, or after a source was set aside.
pub(crate) const RETRY_SOURCE_AFTER: Duration = Duration::from_secs(30);

/// How the configuration compares with what is stored, and the sources that wait because of it.
#[derive(Default)]
pub(crate) struct FollowedSources {
    pub(crate) comparison: ChainComparison,
    /// Sources with a log that is stored for another source, which no earlier check found; with time and reason.
    pub(crate) set_aside: BTreeMap<usize, (Instant, String)>,
    /// Sources whose gap waits for another try, with time and reason.
    postponed: BTreeMap<usize, (Instant, String)>,
    /// The first block of a source's gap that this process read.
    pub(crate) began: BTreeMap<usize, u64>,
    pub(crate) decisions_checked_at: Option<Instant>,
}

impl FollowedSources {
    /// Whether no part of a source is followed.
    pub(crate) fn is_blocked(&self, source: usize) -> bool {
        self.set_aside.contains_key(&source)
            || self.compared(source).is_some_and(SourceComparison::is_blocked)
    }

    pub(crate) fn compared(&self, source: usize) -> Option<&SourceComparison> {
        self.comparison.sources.get(source)
    }

    /// Why a source, or a part of it, is not followed.
    pub(crate) fn hindrance(&self, source: usize) -> Option<String> {
        let aside = self.set_aside.get(&source).map(|(_, why)| why.clone());
        aside.or_else(|| self.compared(source)?.hindrance())
    }

    /// Sources with a gap that is not postponed.
    pub(crate) fn with_gaps(&self) -> impl Iterator<Item = (usize, &SourceComparison)> {
        let is_postponed = |source: &usize| {
            self.postponed.get(source).is_some_and(|(at, _)| at.elapsed() < RETRY_SOURCE_AFTER)
        };
        let sources = self.comparison.sources.iter().enumerate();
        sources.filter(move |(source, compared)| {
            !compared.gaps.is_empty() && !self.is_blocked(*source) && !is_postponed(source)
        })
    }

    /// Postpones the gap of a source. New blocks of the source are still read.
    pub(crate) fn postpone(&mut self, source: usize, why: String) {
        self.postponed.insert(source, (Instant::now(), why));
    }

    /// Records that a source's gap was read up to this block.
    pub(crate) fn read_to(&mut self, source: usize, to: u64) {
        self.postponed.remove(&source);
        if let Some(compared) = self.comparison.sources.get_mut(source) {
            compared.read_to(to);
            if compared.gaps.is_empty() {
                self.began.remove(&source);
            }
        }
    }

    /// The progress of reading a source's past.
    pub(crate) fn unread(&self, source: usize) -> Option<UnreadHealth> {
        let unread = self.compared(source)?.unread()?;
        let next = unread.range.from();
        Some(UnreadHealth {
            what: unread.what.clone(),
            from: self.began.get(&source).copied().unwrap_or(next).min(next),
            next,
            to: unread.range.to(),
            blocks: unread.blocks,
            error: self.postponed.get(&source).map(|(_, why)| why.clone()),
        })
    }

    /// Other differences of a source, for people.
    pub(crate) fn notes(&self, source: usize) -> Vec<String> {
        let differences = self.compared(source).into_iter().flat_map(|compared| &compared.differences);
        differences.filter(|difference| is_note(difference)).map(ToString::to_string).collect()
    }
}

fn is_note(difference: &SourceDifference) -> bool {
    !difference.blocks() && !matches!(difference, SourceDifference::Unread(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_core::domain::{AddressSet, BlockRange, EventKey, SourceGap, TopicFilter};

    /// Two sources that follow an event and have a past to be read.
    fn followed_sources() -> FollowedSources {
        let compared = |name: &str| {
            let event = EventKey {
                topic0: None,
                topics: 0,
                signature: "Note()".to_owned(),
                declaration: "Note()".to_owned(),
                filter: TopicFilter::default(),
            };
            let items = vec![(event, AddressSet::Any)];
            let range = BlockRange::new(1, 9).expect("in order");
            let gaps = vec![SourceGap { range, items: items.clone() }];
            SourceComparison { source: name.to_owned(), listens: items, gaps, ..SourceComparison::default() }
        };
        let comparison =
            ChainComparison { sources: vec![compared("usd"), compared("eur")], gone: Vec::new() };
        FollowedSources { comparison, ..FollowedSources::default() }
    }

    fn read_next(followed_sources: &FollowedSources) -> Vec<usize> {
        followed_sources.with_gaps().map(|(source, _)| source).collect()
    }

    #[test]
    fn a_source_set_aside_is_blocked_alone_and_with_its_reason() {
        let mut followed_sources = followed_sources();
        assert_eq!(read_next(&followed_sources), [0, 1]);
        followed_sources.set_aside.insert(0, (Instant::now(), "stored for source old".to_owned()));
        assert_eq!((followed_sources.is_blocked(0), followed_sources.is_blocked(1)), (true, false));
        assert_eq!(followed_sources.hindrance(0).as_deref(), Some("stored for source old"));
        assert_eq!((followed_sources.hindrance(1), read_next(&followed_sources)), (None, vec![1]));
    }

    #[test]
    fn a_past_that_fails_rests_and_its_source_is_followed() {
        let mut followed_sources = followed_sources();
        followed_sources.postpone(1, "the node lacks it".to_owned());
        assert_eq!((read_next(&followed_sources), followed_sources.is_blocked(1)), (vec![0], false));
        followed_sources.read_to(1, 4);
        assert_eq!(read_next(&followed_sources), [0, 1]);
        assert_eq!(followed_sources.compared(1).map(|compared| compared.gaps[0].range.from()), Some(5));
    }
}
