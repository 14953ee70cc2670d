use super::*;
use crate::mapping::MappingError;

#[test]
fn every_problem_of_every_source_is_reported_at_once() {
    let other = abi(&[("Moved", &[("who", "address", false), ("n", "uint8", true)])]);
    let named = |name: &str, family, user: Option<&str>| SourceMapping {
        settings: FamilySettings { family, user: user.map(ToOwned::to_owned) },
        ..source(name, family, events(&other))
    };
    let sources = vec![
        named("vault", Family::Stake, None),
        named("coin", Family::Erc20, Some("who")),
        named("art", Family::Erc721, None),
        named("a", Family::Generic, Some("owner")),
        named("b", Family::Generic, Some("n")),
        named("fine", Family::Generic, Some("who")),
        source("empty", Family::Generic, Vec::new()),
    ];
    let found = problems(sources);
    let at: Vec<&str> = found.iter().map(MappingProblem::source_name).collect();
    assert_eq!(at, ["vault", "coin", "coin", "art", "a", "b", "empty"]);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "source `vault` is of family stake and its ABI has no Staked(address,uint256); use family generic for other events",
            "source `coin` is of family erc20 and its ABI has no Transfer(address,address,uint256) or Approval(address,address,uint256); use family generic for other events",
            "source `coin` is of family erc20, which defines its users; remove `user`, which is for family generic",
            "source `art` is of family erc721 and its ABI has no Transfer(address,address,uint256), Approval(address,address,uint256), ApprovalForAll(address,address,bool) or ConsecutiveTransfer(uint256,uint256,address,address); use family generic for other events",
            "source `a` has no event with an argument `owner`; arguments are who",
            "source `b`: argument `n` of Moved(address,uint8) is uint8, and a user is an address",
            "source `empty` has no events",
        ]
    );
    let text = MappingError { problems: found[5..].to_vec() }.to_string();
    assert_eq!(text, texts[5..].join("; "));
}

#[test]
fn a_staked_event_of_another_shape_is_not_a_stake() {
    let json = abi(&[("Staked", &[("developer", "address", true), ("what", "bytes32", false)])]);
    assert_eq!(problems(vec![source("v", Family::Stake, events(&json))]).len(), 1);
}

#[test]
fn sources_whose_view_names_collide_are_asked_to_rename() {
    let c = abi(&[("C", &[])]);
    let bc = abi(&[("BC", &[]), ("B_C", &[])]);
    let found = problems(vec![
        source("a_b", Family::Generic, events(&c)),
        source("a", Family::Generic, events(&bc)[1..].to_vec()),
    ]);
    let expected = MappingProblem::SameView {
        source_name: "a".to_owned(),
        other: "a_b".to_owned(),
        view: "a_b_c".to_owned(),
    };
    assert_eq!(found, [expected]);
}
