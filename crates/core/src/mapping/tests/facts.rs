use super::*;
use crate::decode::SupplyChange;
use crate::domain::{Projection, TokenRange};
use crate::mapping::{MapLogError, SupplyProblem, check_supply};

const KITTIES: &str = include_str!("../../../../../abi/CryptoKitties.json");

fn standard(family: Family) -> &'static str {
    default_abi(family).expect("the family has a standard")
}

fn three(from: Address, to: Address, value: u64) -> Vec<Value> {
    vec![Value::Address(from), Value::Address(to), uint(value)]
}

fn amount_fact(kind: usize, from: Address, to: Address, amount: u64) -> Fact {
    Fact {
        kind: KindIndex(kind),
        account: Some(from),
        counterparty: Some(to),
        amount: Some(U256::from(amount)),
        token_id: None,
        args: None,
    }
}

fn token_fact(kind: usize, from: Address, to: Address, token: u64) -> Fact {
    Fact { amount: None, token_id: Some(U256::from(token)), ..amount_fact(kind, from, to, 0) }
}

#[test]
fn a_stake_is_its_developer_and_its_amount() {
    let json = standard(Family::Stake);
    let mapper = mapper(Family::Stake, json);
    let args = vec![Value::Address(address(1)), uint(25_000_000)];
    let fact = Fact {
        kind: KindIndex(0),
        account: Some(address(1)),
        counterparty: None,
        amount: Some(U256::from(25_000_000)),
        token_id: None,
        args: None,
    };
    assert_eq!(map(&mapper, json, "Staked", args), ("stake.staked".to_owned(), fact));
    assert_eq!(mapper.kinds()[0].projection, Projection::Stake);
}

#[test]
fn erc20_transfers_differ_from_mints_and_burns() {
    let json = standard(Family::Erc20);
    let mapper = mapper(Family::Erc20, json);
    let (a, b, zero) = (address(1), address(2), Address::ZERO);
    let cases =
        [(a, b, 0, "transfer"), (zero, b, 1, "mint"), (a, zero, 2, "burn"), (zero, zero, 0, "transfer")];
    for (from, to, kind, word) in cases {
        let expected = (format!("erc20.{word}"), amount_fact(kind, from, to, 5));
        assert_eq!(map(&mapper, json, "Transfer", three(from, to, 5)), expected);
    }
    let approval = ("erc20.approval".to_owned(), amount_fact(3, a, b, 7));
    assert_eq!(map(&mapper, json, "Approval", three(a, b, 7)), approval);
    let projections: Vec<_> = mapper.kinds().iter().map(|kind| kind.projection).collect();
    let balance = Projection::Balance;
    assert_eq!(projections, [balance, balance, balance, Projection::Allowance]);
}

#[test]
fn events_of_a_token_that_mint_or_burn_move_its_balance() {
    let json = abi(&[
        ("Deposit", &[("dst", "address", true), ("wad", "uint256", false)]),
        ("Withdrawal", &[("src", "address", true), ("wad", "uint256", false), ("memo", "string", false)]),
        ("Transfer", &[("from", "address", true), ("to", "address", true), ("value", "uint256", false)]),
        ("Rebased", &[("by", "uint256", false)]),
    ]);
    let change = |name: &str| match name {
        "Deposit" => Some(SupplyChange::Mint),
        "Withdrawal" => Some(SupplyChange::Burn),
        _ => None,
    };
    let marked: Vec<Arc<AbiEvent>> = events(&json)
        .into_iter()
        .map(|event| match change(&event.name) {
            Some(change) => Arc::new(event.with_supply(change)),
            None => event,
        })
        .collect();
    let mapper = Mapper::new(vec![source("s", Family::Erc20, marked.clone())]).expect("the source is right");
    let map = |position: usize, args: Vec<Value>| {
        let event = marked[position].clone();
        let fact = mapper.map(&TypedLog { source: SourceIndex(0), event, args }).expect("it has a meaning");
        let kind = &mapper.kinds()[fact.kind.0];
        (kind.event_type.clone(), kind.projection, fact.account, fact.counterparty, fact.amount, fact.args)
    };
    let who = Some(address(1));
    assert_eq!(
        map(0, vec![Value::Address(address(1)), uint(7)]),
        ("erc20.mint".to_owned(), Projection::Balance, None, who, Some(U256::from(7)), None)
    );
    assert_eq!(
        map(1, vec![Value::Address(address(1)), uint(7), Value::Text("x".into())]),
        (
            "erc20.burn".to_owned(),
            Projection::Balance,
            who,
            None,
            Some(U256::from(7)),
            Some(r#"{"memo":"x"}"#.to_owned())
        )
    );
    let refused = |position: usize| check_supply(&events(&json)[position], SupplyChange::Mint);
    assert_eq!(refused(2), Err(SupplyProblem::Counted));
    assert_eq!(refused(3), Err(SupplyProblem::Arguments { addresses: 0, numbers: 1 }));
    assert_eq!(check_supply(&marked[1], SupplyChange::Mint), Err(SupplyProblem::Both));
}

#[test]
fn erc721_moves_a_token_and_not_an_amount() {
    let json = standard(Family::Erc721);
    let mapper = mapper(Family::Erc721, json);
    let (a, b, zero) = (address(1), address(2), Address::ZERO);
    for (from, to, kind, word) in [(a, b, 0, "transfer"), (zero, b, 1, "mint"), (a, zero, 2, "burn")] {
        let expected = (format!("erc721.{word}"), token_fact(kind, from, to, 5));
        assert_eq!(map(&mapper, json, "Transfer", three(from, to, 5)), expected);
    }
    let approval = ("erc721.approval".to_owned(), token_fact(3, a, zero, 7));
    assert_eq!(map(&mapper, json, "Approval", three(a, zero, 7)), approval);
    let args = vec![Value::Address(a), Value::Address(b), Value::Bool(true)];
    let for_all =
        Fact { token_id: None, args: Some(r#"{"approved":true}"#.to_owned()), ..token_fact(4, a, b, 0) };
    assert_eq!(map(&mapper, json, "ApprovalForAll", args), ("erc721.approval_for_all".to_owned(), for_all));
    let projections: Vec<_> = mapper.kinds().iter().map(|kind| kind.projection).collect();
    let (owner, none) = (Projection::Owner, Projection::None);
    assert_eq!(projections, [owner, owner, owner, none, none, Projection::OwnerRange]);
}

/// Arguments of a `ConsecutiveTransfer` of these tokens.
fn range(first: U256, last: U256) -> Vec<Value> {
    vec![Value::Uint(first), Value::Uint(last), Value::Address(Address::ZERO), Value::Address(address(2))]
}

#[test]
fn a_range_of_tokens_is_one_fact() {
    let json = standard(Family::Erc721);
    let mapper = mapper(Family::Erc721, json);
    let (word, fact) = map(&mapper, json, "ConsecutiveTransfer", range(U256::from(3), U256::from(7)));
    let expected =
        Fact { args: Some(r#"{"toTokenId":"7"}"#.to_owned()), ..token_fact(5, Address::ZERO, address(2), 3) };
    assert_eq!((word.as_str(), &fact), ("erc721.consecutive_transfer", &expected));
    let tokens = TokenRange { first: U256::from(3), last: U256::from(7) };
    assert_eq!(TokenRange::of(&fact), Some(tokens));
    // As `jsonb` gives it back.
    let stored = Fact { args: Some(r#"{"toTokenId": "7"}"#.to_owned()), ..fact };
    assert_eq!(TokenRange::of(&stored), Some(tokens));
}

#[test]
fn a_range_is_counted_up_to_ten_thousand_tokens() {
    let json = standard(Family::Erc721);
    let mapper = mapper(Family::Erc721, json);
    let event =
        events(json).into_iter().find(|event| event.name == "ConsecutiveTransfer").expect("it is there");
    let map = |first: U256, last: U256| {
        let args = range(first, last);
        mapper.map(&TypedLog { source: SourceIndex(0), event: event.clone(), args }).map(|_| ())
    };
    let number = U256::from::<u64>;
    assert_eq!(map(number(5), number(5)), Ok(()));
    assert_eq!(map(number(5), number(10_004)), Ok(()));
    assert_eq!(map(U256::MAX - number(9_999), U256::MAX), Ok(()));
    let too_long = |first, last| Err(MapLogError::RangeTooLong { first, last, max: 10_000 });
    assert_eq!(map(number(5), number(10_005)), too_long(number(5), number(10_005)));
    assert_eq!(map(U256::ZERO, U256::MAX), too_long(U256::ZERO, U256::MAX));
    assert_eq!(map(number(5), number(4)), Err(MapLogError::RangeBackwards));
}

#[test]
fn a_family_knows_its_events_whatever_their_argument_names() {
    let mapper = mapper(Family::Erc721, KITTIES);
    let (word, fact) = map(&mapper, KITTIES, "Transfer", three(address(1), address(2), 3));
    assert_eq!((word.as_str(), fact.token_id), ("erc721.transfer", Some(U256::from(3))));
    let json =
        abi(&[("Transfer", &[("src", "address", true), ("dst", "address", true), ("wad", "uint96", false)])]);
    let dai = super::mapper(Family::Erc20, &json);
    assert_eq!(map(&dai, &json, "Transfer", three(address(1), address(2), 3)).0, "erc20.transfer");
}

#[test]
fn what_a_family_does_not_know_is_kept_as_a_contracts_event() {
    let mapper = mapper(Family::Erc721, KITTIES);
    let (word, fact) = map(&mapper, KITTIES, "ContractUpgrade", vec![Value::Address(address(0xab))]);
    let args = format!(r#"{{"newContract":"0x{}"}}"#, "ab".repeat(20));
    let expected = Fact {
        kind: fact.kind,
        account: None,
        counterparty: None,
        amount: None,
        token_id: None,
        args: Some(args),
    };
    assert_eq!((word.as_str(), &fact), ("contract.ContractUpgrade", &expected));
    assert_eq!(mapper.kinds()[fact.kind.0].projection, Projection::None);

    // ERC-223 emits this beside the standard event; counting both would double the balance.
    let four: &[_] =
        &[("f", "address", true), ("t", "address", true), ("v", "uint256", false), ("d", "bytes", false)];
    let json = abi(&[("Transfer", four), ("Transfer", &four[..3])]);
    let both = super::mapper(Family::Erc20, &json);
    let types: Vec<_> = both.kinds().iter().map(|kind| kind.event_type.as_str()).collect();
    assert_eq!(types, ["contract.Transfer", "erc20.transfer", "erc20.mint", "erc20.burn"]);
}
