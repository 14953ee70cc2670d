use super::*;
use crate::domain::{LogFilter, TopicValues};

fn transfer(events: &[Arc<AbiEvent>]) -> Arc<AbiEvent> {
    Arc::clone(events.iter().find(|event| event.name == "Transfer").expect("every token has it"))
}

fn typed(decoded: DecodeOutcome) -> (usize, Vec<Value>) {
    match decoded {
        DecodeOutcome::Typed(log) => (log.source.0, log.args),
        other => panic!("not typed: {other:?}"),
    }
}

#[test]
fn erc20_and_erc721_transfers_differ_by_topics() {
    let (erc20, erc721, kitties) = (events(ERC20), events(ERC721), events(KITTIES));
    let topic0 = transfer(&erc20).topic0;
    assert_eq!([transfer(&erc721).topic0, transfer(&kitties).topic0], [topic0; 2]);
    let decoder = Decoder::new(vec![
        source(20, AddressSet::Any, erc20),
        source(721, AddressSet::Any, erc721),
        source(9, only(&[6]), kitties),
    ]);
    let args = vec![
        Value::Address(Address::repeat_byte(1)),
        Value::Address(Address::repeat_byte(2)),
        Value::Uint(U256::from(3)),
    ];
    let fungible = log(8, &[topic0, account(1), account(2)], data(&[number(3)]));
    let token = log(8, &[topic0, account(1), account(2), number(3)], data(&[]));
    let kitty = log(6, &[topic0], data(&[account(1), account(2), number(3)]));
    assert_eq!(typed(decoder.decode(&fungible)), (20, args.clone()));
    assert_eq!(typed(decoder.decode(&token)), (721, args.clone()));
    assert_eq!(typed(decoder.decode(&kitty)), (9, args));
}

#[test]
fn a_log_with_other_topic_count_is_foreign_not_malformed() {
    let erc20 = events(ERC20);
    let topic0 = transfer(&erc20).topic0;
    let decoder = Decoder::new(vec![source(0, AddressSet::Any, erc20)]);
    for topics in [&[topic0][..], &[topic0, account(1)], &[topic0, account(1), account(2), number(3)], &[]] {
        assert_eq!(decoder.decode(&log(8, topics, data(&[number(3)]))), DecodeOutcome::Foreign);
    }
}

#[test]
fn a_named_contracts_log_with_other_topic_count_is_malformed() {
    let erc20 = events(ERC20);
    let event = transfer(&erc20);
    let decoder = Decoder::new(vec![source(0, only(&[8]), erc20)]);
    let topics = [event.topic0, account(1), account(2), number(3)];
    let found = decoder.decode(&log(8, &topics, data(&[])));
    let DecodeOutcome::Malformed { source: owner, reason, .. } = found else { panic!("{found:?}") };
    assert_eq!(owner, SourceIndex(0));
    let words = "has 4 topics where the ABI expects 3: is `indexed` right";
    assert!(reason.contains(words) && reason.contains(&event.signature), "{reason}");
    assert!(!decoder.claims(&log(8, &topics, data(&[]))) && decoder.claims(&log(8, &topics[..3], data(&[]))));
    assert_eq!(decoder.decode(&log(9, &topics, data(&[]))), DecodeOutcome::Foreign, "of another contract");
    assert_eq!(decoder.decode(&log(8, &[], data(&[]))), DecodeOutcome::Foreign, "without a first topic");
}

#[test]
fn a_log_of_another_contract_or_event_is_foreign() {
    let erc20 = events(ERC20);
    let topic0 = transfer(&erc20).topic0;
    let decoder = Decoder::new(vec![source(0, only(&[1, 2]), erc20)]);
    let from = |address, topic0| log(address, &[topic0, account(1), account(2)], data(&[number(3)]));
    assert_eq!(typed(decoder.decode(&from(2, topic0))).0, 0);
    assert_eq!(decoder.decode(&from(3, topic0)), DecodeOutcome::Foreign);
    assert_eq!(decoder.decode(&from(2, B256::repeat_byte(9))), DecodeOutcome::Foreign);
}

#[test]
fn overloads_differ_by_their_first_topic() {
    let short = declare("Moved", false, &[("a", "uint256", false)]);
    let long = declare("Moved", false, &[("a", "uint256", false), ("b", "uint256", false)]);
    let both = vec![Arc::clone(&short), Arc::clone(&long)];
    let decoder = Decoder::new(vec![source(0, AddressSet::Any, both)]);
    let words = data(&[number(1), number(2)]);
    assert_eq!(typed(decoder.decode(&log(1, &[short.topic0], words.clone()))).1.len(), 1);
    assert_eq!(typed(decoder.decode(&log(1, &[long.topic0], words))).1.len(), 2);
}

#[test]
fn an_anonymous_event_matches_its_exact_shape_after_signatures() {
    let note = declare("Note", true, &[("who", "address", true), ("text", "string", false)]);
    let signed = declare("Signed", false, &[("a", "uint256", false)]);
    let decoder = Decoder::new(vec![source(0, only(&[1]), vec![Arc::clone(&note), Arc::clone(&signed)])]);
    let text = data(&[number(32), number(2), B256::right_padding_from(b"hi")]);
    let expected = vec![Value::Address(Address::repeat_byte(7)), Value::Text(Bytes::from_static(b"hi"))];
    assert_eq!(typed(decoder.decode(&log(1, &[account(7)], text.clone()))).1, expected);
    let foreign = [
        log(2, &[account(7)], text.clone()),
        log(1, &[], text.clone()),
        log(1, &[account(7), account(7)], text.clone()),
        log(1, &[B256::repeat_byte(7)], text.clone()),
        log(1, &[account(7)], data(&[number(32), number(2), B256::repeat_byte(b'h')])),
        log(1, &[account(7)], [&text[..], &[0; 32]].concat()),
    ];
    for log in foreign {
        assert_eq!(decoder.decode(&log), DecodeOutcome::Foreign, "{log:?}");
    }
    let ours = decoder.decode(&log(1, &[signed.topic0], data(&[number(1)])));
    assert_eq!(typed(ours).1, [Value::Uint(U256::from(1))]);
}

#[test]
fn a_source_of_every_contract_has_no_anonymous_events() {
    let note = declare("Note", true, &[("who", "address", false)]);
    let signed = declare("Signed", false, &[]);
    let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![note, Arc::clone(&signed)])]);
    assert_eq!(decoder.decode(&log(1, &[], data(&[account(1)]))), DecodeOutcome::Foreign);
    let filter =
        LogFilter { addresses: None, topic0: Some([signed.topic0].into()), values: TopicValues::default() };
    assert_eq!(*decoder.filter(), filter);
}

#[test]
fn one_filter_asks_for_every_contract_and_event_of_all_sources() {
    let (a, b) = (declare("A", false, &[]), declare("B", false, &[]));
    let anonymous = declare("C", true, &[]);
    let address = Address::repeat_byte;
    let two =
        vec![source(0, only(&[1]), vec![Arc::clone(&a)]), source(1, only(&[2, 3]), vec![Arc::clone(&b)])];
    assert_eq!(
        *Decoder::new(two).filter(),
        LogFilter {
            addresses: Some([address(1), address(2), address(3)].into()),
            topic0: Some([a.topic0, b.topic0].into()),
            values: TopicValues::default()
        }
    );
    let wild = vec![source(0, only(&[1]), vec![anonymous]), source(1, AddressSet::Any, vec![b])];
    assert_eq!(
        *Decoder::new(wild).filter(),
        LogFilter { addresses: None, topic0: None, values: TopicValues::default() }
    );
}
