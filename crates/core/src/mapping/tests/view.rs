use super::*;
use crate::domain::{Column, SqlType};

fn columns(mapper: &Mapper, kind: usize) -> Vec<(String, Column)> {
    mapper.kinds()[kind].columns.iter().map(|c| (c.name.clone(), c.column.clone())).collect()
}

fn views(name: &str, family: Family, json: &str) -> Vec<String> {
    let mapper = Mapper::new(vec![source(name, family, events(json))]).expect("the source is right");
    mapper.kinds().iter().map(|kind| kind.view.clone()).collect()
}

fn arg(key: &str, sql_type: SqlType) -> Column {
    Column::Arg { key: key.to_owned(), sql_type, hashed: Some(false), members: None }
}

fn hash(key: &str) -> Column {
    Column::Arg { key: key.to_owned(), sql_type: SqlType::Bytea, hashed: Some(true), members: None }
}

#[test]
fn a_token_view_names_its_columns_as_the_abi_does() {
    let mapper = mapper(Family::Erc721, default_abi(Family::Erc721).expect("a standard"));
    let named = |names: [&str; 3], last| -> Vec<(String, Column)> {
        names.map(ToOwned::to_owned).into_iter().zip([Column::Account, Column::Counterparty, last]).collect()
    };
    assert_eq!(columns(&mapper, 0), named(["from", "to", "token_id"], Column::TokenId));
    assert_eq!(columns(&mapper, 1), columns(&mapper, 0));
    let approved = arg("approved", SqlType::Boolean);
    assert_eq!(columns(&mapper, 4), named(["owner", "operator", "approved"], approved));
    let kinds: Vec<_> = mapper.kinds().iter().map(|k| (k.view.as_str(), k.event.as_str())).collect();
    let transfer = ("s_transfer", "Transfer");
    let rest = [
        ("s_approval", "Approval"),
        ("s_approval_for_all", "ApprovalForAll"),
        ("s_consecutive_transfer", "ConsecutiveTransfer"),
    ];
    assert_eq!(kinds, [&[transfer; 3][..], &rest].concat());
    let range = [Column::TokenId, arg("toTokenId", SqlType::Numeric), Column::Account, Column::Counterparty];
    let names = ["from_token_id", "to_token_id", "from_address", "to_address"].map(ToOwned::to_owned);
    assert_eq!(columns(&mapper, 5), names.into_iter().zip(range).collect::<Vec<_>>());
}

#[test]
fn columns_have_their_arguments_type_and_a_unique_name() {
    let params: &[_] = &[
        ("blockNumber", "uint64", false),
        ("type", "int256", false),
        ("type_arg", "bool", false),
        ("tokenId", "address", false),
        ("token_id", "bytes32", false),
        ("note", "string", true),
        ("note_hash", "bytes", false),
        ("s", "string", false),
        ("$", "uint8[]", false),
        ("", "uint8[2]", false),
    ];
    let mapper = mapper(Family::Generic, &abi(&[("E", params)]));
    let expected = [
        ("block_number_arg", arg("blockNumber", SqlType::Numeric)),
        ("type_arg", arg("type", SqlType::Numeric)),
        ("type_arg_2", arg("type_arg", SqlType::Boolean)),
        ("token_id", arg("tokenId", SqlType::Bytea)),
        ("token_id_2", arg("token_id", SqlType::Bytea)),
        ("note_hash", hash("note_hash")),
        ("note_hash_2", arg("note_hash_2", SqlType::Bytea)),
        ("s", arg("s", SqlType::Text)),
        ("arg8", arg("$", SqlType::Jsonb)),
        ("arg9", arg("arg9", SqlType::Jsonb)),
    ];
    assert_eq!(columns(&mapper, 0), expected.map(|(name, column)| (name.to_owned(), column)));
}

#[test]
fn overloads_each_have_topic0_in_the_names_of_their_views() {
    let json =
        abi(&[("Moved", &[("a", "uint8", false)]), ("Moved", &[("a", "bool", false)]), ("Other", &[])]);
    let topics: Vec<String> = events(&json).iter().map(|e| e.topic0.to_string()[2..10].to_owned()).collect();
    let expected = [format!("s_moved_{}", topics[0]), format!("s_moved_{}", topics[1]), "s_other".to_owned()];
    assert_eq!(views("s", Family::Generic, &json), expected);
}

#[test]
fn declarations_indexed_otherwise_share_a_view_if_possible() {
    let transfer = |indexed| [("f", "address", true), ("t", "address", true), ("v", "uint256", indexed)];
    let json = abi(&[("Transfer", &transfer(false)), ("Transfer", &transfer(true))]);
    assert_eq!(views("s", Family::Erc721, &json), ["s_transfer"; 3]);
    let json = abi(&[("E", &[("x", "string", false)]), ("E", &[("x", "string", true)])]);
    let topic = events(&json)[0].topic0.to_string()[2..10].to_owned();
    let expected = [format!("s_e_{topic}_1"), format!("s_e_{topic}_2")];
    assert_eq!(views("s", Family::Generic, &json), expected);
}

#[test]
fn an_anonymous_declaration_has_a_view_beside_the_signed_one() {
    let json = r#"[{"type":"event","name":"E","inputs":[{"name":"x","type":"bool"}]},
        {"type":"event","name":"E","anonymous":true,"inputs":[{"name":"y","type":"bool","indexed":true}]}]"#;
    let topic = events(json)[0].topic0.to_string()[2..10].to_owned();
    let expected = [format!("s_e_{topic}_1"), format!("s_e_{topic}_1_anonymous")];
    assert_eq!(views("s", Family::Generic, json), expected);
}

#[test]
fn events_that_differ_only_in_case_have_views_of_their_own() {
    let json = abi(&[("Moved", &[("a", "bool", false)]), ("moved", &[("b", "bool", false)])]);
    let topics: Vec<String> = events(&json).iter().map(|e| e.topic0.to_string()[2..10].to_owned()).collect();
    let expected = [format!("s_moved_{}", topics[0]), format!("s_moved_{}", topics[1])];
    assert_eq!(views("s", Family::Generic, &json), expected);
}

#[test]
fn a_struct_shows_what_its_members_are_called() {
    let json = r#"[{"type":"event","name":"E","inputs":[{"name":"p","type":"tuple[2][]","components":[
        {"name":"y","type":"uint8"},{"name":"","type":"tuple","components":[{"name":"z","type":"bool"}]}]}]}]"#;
    let mapper = mapper(Family::Generic, json);
    let Column::Arg { members: Some(members), .. } = &mapper.kinds()[0].columns[0].column else {
        panic!("{:?}", mapper.kinds()[0].columns)
    };
    let names: Vec<(&str, bool)> =
        members.list.iter().map(|member| (member.name.as_str(), member.members.is_some())).collect();
    assert_eq!((members.arrays, names), (2, vec![("y", false), ("arg1", true)]));
}

#[test]
fn names_fit_into_63_bytes_and_stay_apart() {
    let long = format!("{}Event", "VeryLong".repeat(10));
    let (a, b) = (format!("{long}A"), format!("{long}B"));
    let (x, y) = (format!("{}X", "x".repeat(70)), format!("{}Y", "x".repeat(70)));
    let json = abi(&[(&a, &[(&x, "bool", false), (&y, "bool", false)]), (&b, &[])]);
    let views = views("vault", Family::Generic, &json);
    assert!(views.iter().all(|view| view.len() == 63 && view.starts_with("vault_very_long_very_long")));
    assert_ne!(views[0], views[1]);
    let mapper = mapper(Family::Generic, &json);
    let names: Vec<String> = columns(&mapper, 0).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| name.len() == 63));
    assert_ne!(names[0], names[1]);
}
