//! Every type of messages about a chain is in one list, which the schema of messages repeats.

use std::collections::BTreeSet;

use super::*;
use crate::domain::{CHAIN_TYPES, MESSAGE_SCHEMA, is_chain_type};

#[test]
fn every_type_that_a_family_composes_is_a_type_of_a_chain() {
    let ping = abi(&[("Ping", &[])]);
    let mut composed = BTreeSet::new();
    for family in Family::ALL {
        let mapper = mapper(family, default_abi(family).unwrap_or(&ping));
        composed.extend(mapper.kinds().iter().map(|kind| kind.event_type.clone()));
    }
    for name in &composed {
        assert!(is_chain_type(name), "{name} is not in the list of domain::message_type");
    }

    let schema: serde_json::Value = serde_json::from_str(MESSAGE_SCHEMA).expect("the schema is JSON");
    let listed = schema["$defs"]["onChain"]["properties"]["type"]["anyOf"][0]["enum"].as_array();
    let listed: BTreeSet<&str> = listed.into_iter().flatten().filter_map(|name| name.as_str()).collect();
    assert!(composed.remove("contract.Ping"));
    let known = composed.iter().map(String::as_str).chain(CHAIN_TYPES).collect();
    assert_eq!(listed, known, "the types that schemas/message.json names");
}
