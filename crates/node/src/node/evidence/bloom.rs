//! What a bloom filter proves about logs: an item that it excludes is in no log, and an item that it holds may be in
//! one.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bloom, BloomInput};

use chainflume_core::domain::{Log, LogFilter, Logs};

/// An address and a first topic of a filter; `None` means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddressTopic {
    pub address: Option<Address>,
    pub topic0: Option<B256>,
}

/// An item of a bloom that no log of the answer accounts for. Either the answer lacks logs, or the bloom has a false
/// positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mismatch {
    /// The answer has no logs of this pair, which the bloom holds.
    Pair(AddressTopic),
    /// The bloom holds a few more addresses or topics than chance explains.
    Chance,
    /// The bloom has bits that no log in the answer has set.
    More,
    /// The bloom is so full that it would hold missing logs in any case, so that it proves nothing.
    Blind,
}

impl Mismatch {
    /// Whether the bloom is a reason to expect more logs. If not, a second read is a random check.
    pub(super) fn has_evidence(&self) -> bool {
        *self != Self::Blind
    }
}

/// The items that the logs of an answer account for.
pub(super) struct AnsweredItems {
    addresses: BTreeSet<Address>,
    topics: BTreeSet<B256>,
    /// Topics after the first.
    pub(super) values: BTreeSet<B256>,
    pub(super) pairs: BTreeSet<AddressTopic>,
    /// The bits its logs have set.
    bloom: Bloom,
}

impl AnsweredItems {
    pub(super) fn of(logs: &Logs) -> Self {
        let (addresses, topics, values) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut answered = Self { addresses, topics, values, pairs: BTreeSet::new(), bloom: Bloom::ZERO };
        for log in logs {
            let topic0 = log.topics.as_slice().first().copied();
            answered.addresses.insert(log.address);
            answered.topics.extend(topic0);
            answered.values.extend(log.topics.as_slice().iter().skip(1));
            answered.pairs.insert(AddressTopic { address: Some(log.address), topic0 });
            answered.bloom.accrue_raw_log(log.address, log.topics.as_slice());
        }
        answered
    }

    /// Whether the bloom holds all of these items.
    pub(super) fn is_within(&self, bloom: &Bloom) -> bool {
        bloom.contains(&self.bloom)
    }
}

/// Whether the bloom may hold an address or a topic.
pub(crate) fn holds(bloom: &Bloom, item: &[u8]) -> bool {
    bloom.contains_input(BloomInput::Raw(item))
}

/// Whether the bloom admits this log: its address and each of its topics.
pub(super) fn holds_log(bloom: &Bloom, log: &Log) -> bool {
    holds(bloom, log.address.as_slice())
        && log.topics.as_slice().iter().all(|topic| holds(bloom, topic.as_slice()))
}

/// Whether the bloom excludes every log that the filter wants: all its addresses, all its first topics, or all values
/// of a further topic.
pub(super) fn excludes(bloom: &Bloom, filter: &LogFilter) -> bool {
    fn none_of<T: AsRef<[u8]>>(bloom: &Bloom, items: Option<&BTreeSet<T>>) -> bool {
        items.is_some_and(|items| !items.iter().any(|item| holds(bloom, item.as_ref())))
    }
    none_of(bloom, filter.addresses.as_ref())
        || none_of(bloom, filter.topic0.as_ref())
        || filter.values.iter().any(|values| none_of(bloom, values.as_ref()))
}

/// The mismatches between a bloom and an answer, among the items of the filter.
///
/// An item (an address or a topic) sets three of the bloom's 2048 bits. So a bloom holds an item that is in no log
/// with the probability (bits set / 2048)³: 0.2 % where an eighth of the bits is set, 17 % where 55 % are set, as
/// usual on Ethereum. The rules:
///
/// - An address that the bloom holds and no log of the answer has is a mismatch, with each topic that the bloom
///   holds. But the number of such addresses must be unlikely by chance: one hit among one address is unlikely, one
///   among ten thousand is not. Where chance is a better explanation, all of them together are one mismatch
///   ([`Mismatch::Chance`]). Otherwise each of ten thousand addresses would cause a few needless checks.
/// - A topic that the bloom holds and no log of the answer has is a mismatch by the same rule, with any address. It
///   may be of a contract that the filter does not want.
/// - An address and a topic that both occur in the answer, but not in one log, have set their bits already. The bloom
///   proves nothing about their pair. But if a sparse bloom has bits that no log of the answer has set, the block has
///   other logs, and few of them. Then each such pair is a mismatch, and so are more logs of a pair that the answer
///   has ([`Mismatch::More`]).
/// - Where the filter has values of further topics, address and first topic prove nothing: unwanted logs have them,
///   too. There is no mismatch unless the bloom holds one of the values of each such topic. A value that the bloom
///   holds and no log of the answer has is a mismatch, as a topic is.
/// - Without any of these mismatches, the bloom may still have bits that no log of the answer has set. It is then no
///   evidence for missing logs or against them. Such answers are checked at random ([`Mismatch::Blind`]).
///
/// A mismatch that is often a false positive is checked less and less often ([`super::false_positives`]).
pub(super) fn mismatches(bloom: &Bloom, filter: &LogFilter, answered: &AnsweredItems) -> BTreeSet<Mismatch> {
    let ones: u32 = bloom.as_slice().iter().map(|byte| byte.count_ones()).sum();
    let by_chance = (f64::from(ones) / BITS).powi(3);
    let addresses = filter.addresses.as_ref().map(|all| FilterItems::of(all, &answered.addresses, bloom));
    let topics = filter.topic0.as_ref().map(|all| FilterItems::of(all, &answered.topics, bloom));
    let mut found = BTreeSet::new();
    if addresses.as_ref().is_some_and(|items| items.held.is_empty())
        || topics.as_ref().is_some_and(|items| items.held.is_empty())
    {
        return found;
    }
    if filter.has_values() {
        return value_mismatches(bloom, filter, by_chance, answered);
    }
    if let Some(items) = &addresses {
        let (each_one, all) = rarity(items.chance(by_chance));
        for address in items.silent.iter().filter(|_| each_one) {
            let pair = |topic0| Mismatch::Pair(AddressTopic { address: Some(*address), topic0 });
            found.extend(each(topics.as_ref()).map(pair));
        }
        found.extend(all);
    }
    if let Some(items) = &topics {
        let (each_one, all) = rarity(items.chance(by_chance));
        let pair = |topic: &B256| Mismatch::Pair(AddressTopic { address: None, topic0: Some(*topic) });
        found.extend(items.silent.iter().filter(|_| each_one).map(pair));
        found.extend(all);
    }
    let more = answered.bloom != *bloom;
    if addresses.is_none() && topics.is_none() {
        // The filter wants all logs of the block.
        found.extend(more.then_some(Mismatch::More));
    } else if more && ones <= SPARSE && !answered.pairs.is_empty() {
        let with = |address| move |topic0| AddressTopic { address, topic0 };
        let all = each_or_any(addresses.as_ref())
            .flat_map(|address| each_or_any(topics.as_ref()).map(with(address)));
        found.extend(all.filter(|pair| !answered.pairs.contains(pair)).map(Mismatch::Pair));
        found.insert(Mismatch::More);
    }
    if more && found.is_empty() {
        found.insert(Mismatch::Blind);
    }
    found
}

/// Whether each unanswered item is a mismatch by itself, and the mismatch that all of them are together, by the
/// probability that chance explains their number.
fn rarity(chance: Option<f64>) -> (bool, Option<Mismatch>) {
    match chance.filter(|chance| *chance < BY_CHANCE) {
        Some(chance) if chance < SELDOM => (true, None),
        Some(_) => (false, Some(Mismatch::Chance)),
        None => (false, None),
    }
}

/// As [`mismatches`], for a filter with values of further topics.
fn value_mismatches(
    bloom: &Bloom,
    filter: &LogFilter,
    by_chance: f64,
    answered: &AnsweredItems,
) -> BTreeSet<Mismatch> {
    let mut found = BTreeSet::new();
    let asked = filter.values.iter().flatten();
    let positions: Vec<FilterItems<B256>> =
        asked.map(|values| FilterItems::of(values, &answered.values, bloom)).collect();
    if positions.iter().any(|items| items.held.is_empty()) {
        return found;
    }
    for items in &positions {
        let (each_one, all) = rarity(items.chance(by_chance));
        let value = |value: &B256| Mismatch::Pair(AddressTopic { address: None, topic0: Some(*value) });
        found.extend(items.silent.iter().filter(|_| each_one).map(value));
        found.extend(all);
    }
    if found.is_empty() && answered.bloom != *bloom {
        found.insert(Mismatch::Blind);
    }
    found
}

/// Bits of a bloom.
const BITS: f64 = 2048.0;
/// A bloom with no more bits is sparse: some ninety items, thirty logs.
const SPARSE: u32 = 256;

/// The addresses or the topics of a filter, compared with bloom and answer.
struct FilterItems<T> {
    /// Items that the bloom holds.
    held: Vec<T>,
    /// Items that the bloom holds and no log of the answer has.
    silent: Vec<T>,
    /// Number of items of the filter that no log of the answer has.
    candidates: usize,
}

impl<T: Ord + Copy + AsRef<[u8]>> FilterItems<T> {
    fn of(asked: &BTreeSet<T>, answered: &BTreeSet<T>, bloom: &Bloom) -> Self {
        let held: Vec<T> = asked.iter().copied().filter(|item| holds(bloom, item.as_ref())).collect();
        let silent: Vec<T> = held.iter().copied().filter(|item| !answered.contains(item)).collect();
        let candidates = asked.len() - (held.len() - silent.len());
        Self { held, silent, candidates }
    }

    /// The probability that chance explains the number of unanswered items, if the bloom holds each by chance with
    /// probability `of_each`. `None` where there are none.
    fn chance(&self, of_each: f64) -> Option<f64> {
        let silent = self.silent.len();
        (silent > 0).then(|| at_least(silent, mean(self.candidates, of_each)))
    }
}

/// The items that the bloom holds, or "any" for a filter without such a list.
fn each<T: Copy>(items: Option<&FilterItems<T>>) -> impl Iterator<Item = Option<T>> + '_ {
    let any = items.is_none().then_some(None);
    items.into_iter().flat_map(|items| items.held.iter().copied().map(Some)).chain(any)
}

/// The items that logs of the answer have, or "any" for a filter without such a list.
fn each_or_any<T: Copy + Ord>(items: Option<&FilterItems<T>>) -> impl Iterator<Item = Option<T>> + '_ {
    let any = items.is_none().then_some(None);
    let answered = |items: &FilterItems<T>, item: &T| !items.silent.contains(item);
    let named =
        items.into_iter().flat_map(move |items| items.held.iter().filter(move |item| answered(items, item)));
    named.copied().map(Some).chain(any)
}

/// A second read costs as much as the first. It is made where chance explains the bloom with a probability below
/// this.
const BY_CHANCE: f64 = 0.25;
/// Where the probability is below this, each item is a mismatch by itself.
const SELDOM: f64 = 0.02;

fn mean(candidates: usize, each: f64) -> f64 {
    f64::from(u32::try_from(candidates).unwrap_or(u32::MAX)) * each
}

/// The probability of `count` or more where `mean` are expected (Poisson).
fn at_least(count: usize, mean: f64) -> f64 {
    let (mut exactly, mut fewer) = ((-mean).exp(), 0.0);
    for so_many in 0..count {
        fewer += exactly;
        exactly *= mean / self::mean(so_many + 1, 1.0);
    }
    1.0 - fewer
}

#[cfg(test)]
mod tests;
