//! Chance that is fair.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::random::Random;

/// Kinds in random order, each as often as every other.
pub struct Deck<K: 'static> {
    kinds: &'static [K],
    left: Vec<K>,
}

impl<K: Copy + 'static> Deck<K> {
    pub fn new(kinds: &'static [K]) -> Self {
        Self { kinds, left: Vec::new() }
    }

    /// The next one of those that rank highest; what does not fit, and has no rank, waits for its turn.
    pub fn deal<R: Ord>(&mut self, random: &mut Random, rank: impl Fn(K) -> Option<R>) -> Option<K> {
        let highest = self.kinds.iter().filter_map(|kind| rank(*kind)).max()?;
        let fits = |kind: &K| rank(*kind).is_some();
        if !self.left.iter().any(fits) {
            let mut fresh = self.kinds.to_vec();
            while !fresh.is_empty() {
                let at = random.below(fresh.len() as u64);
                self.left.push(fresh.swap_remove(usize::try_from(at).expect("below its length")));
            }
        }
        let at = self.left.iter().position(|kind| rank(*kind).as_ref() == Some(&highest));
        at.or_else(|| self.left.iter().position(fits)).map(|at| self.left.remove(at))
    }
}

/// How often each thing has happened. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    pub fn count(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[test]
fn a_deck_deals_each_kind_as_often_as_every_other() {
    let (mut deck, mut random, mut dealt) = (Deck::new(&[1, 2, 3]), Random::new(7), BTreeMap::new());
    for _ in 0..9 {
        *dealt.entry(deck.deal(&mut random, |_| Some(()))).or_insert(0) += 1;
    }
    assert_eq!(dealt, BTreeMap::from([(Some(1), 3), (Some(2), 3), (Some(3), 3)]));
    assert_eq!(deck.deal(&mut random, |kind| (kind == 2).then_some(())), Some(2));
    assert_eq!(deck.deal(&mut random, Some), Some(3), "the highest rank first");
    assert_eq!(deck.deal(&mut random, |_| None::<()>), None);
}
