use super::*;
use crate::decode::overlaps;

fn pairs(sources: &[SourceAbi]) -> Vec<(usize, usize)> {
    overlaps(sources).iter().map(|overlap| (overlap.a.0, overlap.b.0)).collect()
}

#[test]
fn sources_overlap_where_contract_topic0_and_topic_count_meet() {
    let indexed = declare("E", false, &[("a", "uint256", true)]);
    let plain = declare("E", false, &[("a", "uint256", false)]);
    let with = |index, addresses, event: &Arc<AbiEvent>| source(index, addresses, vec![Arc::clone(event)]);
    assert_eq!(pairs(&[with(0, only(&[1, 2]), &plain), with(1, only(&[2, 3]), &plain)]), [(0, 1)]);
    assert_eq!(pairs(&[with(0, AddressSet::Any, &plain), with(1, only(&[2]), &plain)]), [(0, 1)]);
    assert_eq!(pairs(&[with(0, only(&[1]), &plain), with(1, only(&[2]), &plain)]), []);
    assert_eq!(pairs(&[with(0, AddressSet::Any, &plain), with(1, AddressSet::Any, &indexed)]), []);
}

#[test]
fn every_pair_is_found_once_and_in_order() {
    let plain = declare("E", false, &[("a", "uint256", false)]);
    let with = |index, addresses| source(index, addresses, vec![Arc::clone(&plain)]);
    let sources = [
        with(0, only(&[1, 2])),
        with(1, AddressSet::Any),
        with(2, only(&[3])),
        with(3, only(&[2, 1])),
        with(4, only(&[9])),
        with(5, AddressSet::Any),
    ];
    let expected = [(0, 1), (0, 3), (0, 5), (1, 2), (1, 3), (1, 4), (1, 5), (2, 5), (3, 5), (4, 5)];
    assert_eq!(pairs(&sources), expected);
}

#[test]
fn one_signature_indexed_otherwise_overlaps_within_its_source() {
    let first = declare("E", false, &[("a", "uint256", true), ("b", "uint256", false)]);
    let second = declare("E", false, &[("a", "uint256", false), ("b", "uint256", true)]);
    let found = overlaps(&[source(4, only(&[1]), vec![first, second])]);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["both take E(uint256,uint256) with 2 topics from the same contract"]);
}

#[test]
fn an_anonymous_event_overlaps_any_other_with_as_many_topics() {
    let anonymous = declare("N", true, &[("a", "uint256", true)]);
    let signed = declare("E", false, &[("a", "uint256", false)]);
    let apart = [
        source(0, only(&[1]), vec![Arc::clone(&anonymous)]),
        source(1, only(&[1]), vec![Arc::clone(&signed)]),
    ];
    assert_eq!(pairs(&apart), [(0, 1)]);
    assert_eq!(
        overlaps(&apart)[0].to_string(),
        "N(uint256) and E(uint256) cannot be distinguished: one is anonymous, both have 1 topics"
    );
    assert_eq!(pairs(&[source(0, only(&[1]), vec![anonymous, signed])]), []);
}

#[test]
fn two_anonymous_events_are_ambiguous_unless_data_sizes_differ() {
    let one = declare("A", true, &[("a", "uint256", false)]);
    let other = declare("B", true, &[("a", "address", false)]);
    let two = declare("C", true, &[("a", "uint256", false), ("b", "uint256", false)]);
    let text = declare("D", true, &[("a", "string", false)]);
    let within = |a: &Arc<AbiEvent>, b: &Arc<AbiEvent>| {
        pairs(&[source(0, only(&[1]), vec![Arc::clone(a), Arc::clone(b)])])
    };
    assert_eq!(within(&one, &other), [(0, 0)]);
    assert_eq!(within(&one, &two), []);
    assert_eq!(within(&text, &two), [(0, 0)]);
}
