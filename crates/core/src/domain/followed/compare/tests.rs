use std::collections::BTreeMap;

use super::*;
use crate::domain::{Address, B256, BlockRange, StartBlock, TopicFilter};

const CHAIN: u64 = 1;

fn address(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn only(addresses: &[u8]) -> AddressSet {
    AddressSet::Only(addresses.iter().map(|n| address(*n)).collect())
}

fn event(name: &str) -> EventKey {
    let topic0 = Some(B256::repeat_byte(name.as_bytes()[0]));
    EventKey {
        topic0,
        topics: 3,
        signature: format!("{name}()"),
        declaration: format!("{name}()"),
        filter: TopicFilter::default(),
    }
}

fn configured(name: &str, addresses: &[u8], events: &[&str]) -> ConfiguredSource {
    let events = events.iter().map(|name| (event(name), only(addresses))).collect();
    ConfiguredSource {
        name: name.to_owned(),
        family: "erc20".to_owned(),
        start_block: StartBlock::Number(0),
        end_block: None,
        events,
    }
}

fn part(name: &str, addresses: &[u8], from: u64, to: Option<u64>) -> FollowedRange {
    FollowedRange { event: event(name), addresses: only(addresses), from, to, quiet: false }
}

fn kept(name: &str, parts: Vec<FollowedRange>) -> FilledSource {
    FilledSource {
        name: name.to_owned(),
        chain_id: CHAIN,
        family: "erc20".to_owned(),
        start_block: Some(0),
        tip: Some(200),
        events: 200,
        parts,
        emptying: false,
        seen: BTreeMap::new(),
    }
}

fn usd() -> FilledSource {
    kept("usd", vec![part("Transfer", &[0xa1], 0, None)])
}

fn texts(configured: &[ConfiguredSource], kept: &[FilledSource]) -> Vec<String> {
    compare(CHAIN, configured, kept).differences().map(ToString::to_string).collect()
}

fn gaps_of(configured: &ConfiguredSource, kept: &[FilledSource]) -> Vec<((u64, u64), usize)> {
    let comparison = compare(CHAIN, std::slice::from_ref(configured), kept);
    let gaps = comparison.sources[0].gaps.iter();
    gaps.map(|gap| ((gap.range.from(), gap.range.to()), gap.items.len())).collect()
}

#[test]
fn the_same_configuration_differs_in_nothing() {
    assert_eq!(texts(&[configured("usd", &[0xa1], &["Transfer"])], &[usd()]), [""; 0]);
    assert_eq!(texts(&[configured("usd", &[0xa1], &["Transfer"])], &[]), [""; 0]);
}

#[test]
fn an_address_or_an_event_more_has_a_past_to_be_read() {
    let more = configured("usd", &[0xa1, 0xb2], &["Transfer"]);
    assert_eq!(gaps_of(&more, &[usd()]), [((0, 200), 1)]);
    assert_eq!(
        texts(&[more], &[usd()]),
        [format!("source usd reads the past of contract {}: blocks 0 to 200, 201 left", address(0xb2))]
    );
    let more = configured("usd", &[0xa1], &["Transfer", "Approval"]);
    assert_eq!(gaps_of(&more, &[usd()]), [((0, 200), 1)]);
    assert_eq!(
        texts(&[more], &[usd()]),
        ["source usd reads the past of event Approval(): blocks 0 to 200, 201 left"]
    );
}

#[test]
fn what_was_left_out_for_a_while_has_a_hole() {
    let before =
        kept("usd", vec![part("Transfer", &[0xa1], 0, None), part("Transfer", &[0xb2], 0, Some(50))]);
    assert_eq!(
        gaps_of(&configured("usd", &[0xa1, 0xb2], &["Transfer"]), std::slice::from_ref(&before)),
        [((51, 200), 1)]
    );
    assert_eq!(
        texts(&[configured("usd", &[0xa1], &["Transfer"])], &[before]),
        [format!(
            "source usd no longer follows contract {}: its stored events stay; \
             `chainflume sources reset usd` deletes them and reads the source anew",
            address(0xb2)
        )]
    );
}

#[test]
fn gaps_of_several_items_are_cut_where_another_begins_or_ends() {
    let before = kept(
        "usd",
        vec![
            part("Transfer", &[0xa1], 0, None),
            part("Transfer", &[0xb2], 100, None),
            part("Approval", &[0xa1, 0xb2], 50, Some(119)),
        ],
    );
    assert_eq!(
        gaps_of(&configured("usd", &[0xa1, 0xb2], &["Transfer", "Approval"]), &[before]),
        [((0, 49), 2), ((50, 99), 1), ((120, 200), 1)]
    );
}

#[test]
fn a_lower_start_has_a_past_to_be_read_and_a_higher_one_none() {
    let begun = kept("usd", vec![part("Transfer", &[0xa1], 100, None)]);
    assert_eq!(
        gaps_of(&configured("usd", &[0xa1], &["Transfer"]), std::slice::from_ref(&begun)),
        [((0, 99), 1)]
    );
    let later = ConfiguredSource {
        start_block: StartBlock::Number(150),
        ..configured("usd", &[0xa1], &["Transfer"])
    };
    assert_eq!(gaps_of(&later, &[begun]), []);
}

#[test]
fn another_name_is_recognised_and_blocked_with_its_way_back() {
    let renamed = configured("usdc", &[0xa1], &["Transfer"]);
    let other = configured("other", &[0xc3], &["Transfer"]);
    let comparison = compare(CHAIN, &[renamed, other], &[usd()]);
    assert!(comparison.sources[0].is_blocked() && !comparison.sources[1].is_blocked());
    assert_eq!(
        comparison.differences().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "source usdc follows what source usd was filled with up to block 200: run `chainflume sources rename usd usdc` \
          to keep what is stored, or `chainflume sources remove usd` to read it anew, or give the source its name usd back"
        ]
    );
    let empty = FilledSource { events: 0, ..usd() };
    assert!(!compare(CHAIN, &[configured("usdc", &[0xa1], &["Transfer"])], &[empty]).sources[0].is_blocked());
}

#[test]
fn a_moved_part_is_not_followed_at_its_new_source_the_rest_is() {
    let holder = kept("eur", vec![part("Transfer", &[0xb2, 0xd4], 0, None)]);
    let (usd_more, eur_less) =
        (configured("usd", &[0xa1, 0xb2], &["Transfer"]), configured("eur", &[0xd4], &["Transfer"]));
    let comparison = compare(CHAIN, &[usd_more.clone(), eur_less], &[holder.clone(), usd()]);
    assert_eq!(comparison.sources[0].listens, [(event("Transfer"), only(&[0xa1]))]);
    assert!(!comparison.sources[0].is_blocked() && comparison.sources[0].hindrance().is_some());
    assert_eq!(comparison.sources[0].gaps, []);
    let texts =
        |comparison: &ChainComparison| comparison.differences().map(ToString::to_string).collect::<Vec<_>>();
    assert!(texts(&comparison)[0].contains("`chainflume sources reset eur`"), "{:?}", texts(&comparison));
    // Two made one: the holder is not configured any more.
    let merged = compare(CHAIN, &[usd_more], &[holder, usd()]);
    assert!(texts(&merged)[0].contains("`chainflume sources remove eur`"), "{:?}", texts(&merged));
}

#[test]
fn another_family_is_blocked_until_a_reset() {
    let generic = FilledSource { family: "generic".to_owned(), ..usd() };
    let comparison = compare(CHAIN, &[configured("usd", &[0xa1], &["Transfer"])], &[generic]);
    assert!(comparison.sources[0].is_blocked());
    assert!(comparison.sources[0].hindrance().is_some_and(|why| why.contains("sources reset usd")));
}

#[test]
fn another_declaration_is_followed_and_named_and_reads_no_past() {
    let mut layout = configured("usd", &[0xa1], &["Transfer"]);
    layout.events[0].0.declaration = "Transfer( indexed)".to_owned();
    let listens = layout.events.clone();
    let comparison = compare(CHAIN, &[layout], &[usd()]);
    assert_eq!(comparison.sources[0].listens, listens);
    assert_eq!((comparison.sources[0].hindrance(), comparison.sources[0].gaps.len()), (None, 0));
    let texts: Vec<String> = comparison.differences().map(ToString::to_string).collect();
    assert!(texts[0].contains("`chainflume sources reset usd`"), "{texts:?}");
}

#[test]
fn a_name_of_another_chain_is_blocked() {
    let elsewhere = FilledSource { chain_id: 7, ..usd() };
    assert!(
        compare(CHAIN, &[configured("usd", &[0xa1], &["Transfer"])], &[elsewhere]).sources[0].is_blocked()
    );
}

#[test]
fn a_source_deleted_in_part_is_never_whole_nor_taken_by_another() {
    let half = FilledSource { emptying: true, ..usd() };
    let same = compare(CHAIN, &[configured("usd", &[0xa1], &["Transfer"])], std::slice::from_ref(&half));
    assert!(same.sources[0].is_blocked());
    let why = same.sources[0].hindrance().unwrap_or_default();
    assert!(why.contains("`chainflume sources reset usd`"), "{why}");
    // Its new name is not offered: what is left of it is no source.
    let renamed = compare(CHAIN, &[configured("usdc", &[0xa1], &["Transfer"])], std::slice::from_ref(&half));
    let why = renamed.sources[0].hindrance().unwrap_or_default();
    assert!(why.contains("`chainflume sources remove usd`") && !why.contains("rename"), "{why}");
    let gone = compare(CHAIN, &[], &[half]).gone;
    assert!(gone[0].to_string().contains("`chainflume sources remove usd`") && !gone[0].blocks(), "{gone:?}");
}

#[test]
fn digests_of_two_configurations_of_a_source_differ() {
    let usd = configured("usd", &[0xa1], &["Transfer"]);
    assert_eq!(usd.digest(), usd.clone().digest());
    assert_ne!(usd.digest(), configured("usd", &[0xb2], &["Transfer"]).digest());
    assert_ne!(usd.digest(), ConfiguredSource { family: "generic".to_owned(), ..usd.clone() }.digest());
}

#[test]
fn data_of_an_older_program_counts_as_followed_but_new_events() {
    let seen = BTreeMap::from([("Transfer()".to_owned(), [address(0xa1)].into())]);
    let old = FilledSource { parts: vec![], seen, start_block: Some(10), ..usd() };
    assert_eq!(
        gaps_of(&configured("usd", &[0xa1], &["Transfer"]), std::slice::from_ref(&old)),
        [((0, 9), 1)]
    );
    let more = configured("usd", &[0xa1], &["Transfer", "Approval"]);
    assert_eq!(gaps_of(&more, std::slice::from_ref(&old)), [((0, 9), 2), ((10, 200), 1)]);
    let renamed = compare(CHAIN, &[configured("usdc", &[0xa1], &["Transfer"])], std::slice::from_ref(&old));
    assert!(renamed.sources[0].is_blocked());
    assert!(!compare(CHAIN, &[configured("eur", &[0xe5], &["Transfer"])], &[old]).sources[0].is_blocked());
}

#[test]
fn every_contract_covers_each_and_each_covers_not_every() {
    let any = |name: &str| ConfiguredSource {
        events: vec![(event("Transfer"), AddressSet::Any)],
        ..configured(name, &[], &[])
    };
    let all = FollowedRange { addresses: AddressSet::Any, ..part("Transfer", &[], 0, None) };
    assert_eq!(gaps_of(&configured("usd", &[0xa1], &["Transfer"]), &[kept("usd", vec![all])]), []);
    assert_eq!(gaps_of(&any("usd"), &[usd()]), [((0, 200), 1)]);
    // All but one contract cannot be asked for.
    assert!(compare(CHAIN, &[any("all")], &[usd()]).sources[0].is_blocked());
}

#[test]
fn reading_a_gap_shortens_it_and_ends_it() {
    let more = configured("usd", &[0xa1, 0xb2], &["Transfer"]);
    let mut compared = compare(CHAIN, &[more], &[usd()]).sources.remove(0);
    assert_eq!(compared.complete_to(200), None);
    compared.read_to(99);
    assert_eq!(compared.unread().map(|unread| unread.range), BlockRange::new(100, 200));
    assert_eq!(compared.complete_to(200), Some(99));
    compared.read_to(200);
    assert_eq!(
        (compared.gaps.len(), compared.differences.len(), compared.complete_to(200)),
        (0, 0, Some(200))
    );
}

#[test]
fn only_holders_of_the_same_contracts_are_compared() {
    let all = FollowedRange { addresses: AddressSet::Any, ..part("Transfer", &[], 0, None) };
    let kept = [
        kept("b", vec![part("Transfer", &[0xb2, 0xc3], 0, None), part("Approval", &[0xb2], 0, None)]),
        kept("any", vec![all]),
        kept("a", vec![part("Transfer", &[0xa1], 0, None)]),
    ];
    let holders =
        Holders::new(kept.iter().map(|source| Holder { source, parts: source.parts.clone() }).collect());
    let of = |events: &[FollowedEvent]| -> Vec<&str> {
        holders.of(events).map(|holder| holder.source.name.as_str()).collect()
    };
    assert_eq!(of(&[(event("Transfer"), only(&[0xb2]))]), ["b", "any"]);
    assert_eq!(
        of(&[(event("Transfer"), only(&[0xa1])), (event("Approval"), only(&[0xc3]))]),
        ["b", "any", "a"]
    );
    assert_eq!(of(&[(event("Transfer"), only(&[0xd4]))]), ["any"]);
    assert_eq!(of(&[(event("Transfer"), AddressSet::Any)]), ["b", "any", "a"]);
}
