//! Computes the topics of a stored event from its arguments, to decide whether a filter admits its log.

use alloy_primitives::{Address, B256, I256, U256, hex};
use serde_json::{Map, Value};

use super::DescribedKind;
use crate::domain::{Event, EventKey};

impl DescribedKind {
    /// The topics of the log of an event of this kind, which must store all arguments by their names (family `generic`). `None` if they
    /// cannot be computed, as for an anonymous event.
    pub fn topics(&self, event: &Event, key: &EventKey) -> Option<Vec<B256>> {
        let args: Map<String, Value> = serde_json::from_str(event.fact.args.as_ref()?).ok()?;
        let columns = self.layout.columns_of(&args);
        let mut topics = vec![key.topic0?];
        for (position, declared) in arguments(&key.declaration)?.into_iter().enumerate() {
            let Some((ty, _)) = declared.split_once(" indexed") else { continue };
            topics.push(topic(ty, args.get(columns.get(position)?.key()?)?)?);
        }
        Some(topics)
    }
}

/// The arguments of a declaration such as `Moved(address indexed,(uint256,bool)[])`.
fn arguments(declaration: &str) -> Option<Vec<&str>> {
    let inner = declaration.get(declaration.find('(')? + 1..declaration.rfind(')')?)?;
    let (mut arguments, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, sign) in inner.char_indices() {
        match sign {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(&inner[from..]);
    Some(arguments)
}

/// A stored value as a topic: the word itself for types of one word; otherwise the hash, which is what is stored.
fn topic(ty: &str, kept: &Value) -> Option<B256> {
    if let Value::Bool(truth) = kept {
        return Some(B256::with_last_byte(u8::from(*truth)));
    }
    let text = kept.as_str()?;
    if ty == "address" {
        return Some(text.parse::<Address>().ok()?.into_word());
    }
    if ty.starts_with("uint") && !ty.ends_with(']') {
        return Some(U256::from_str_radix(text, 10).ok()?.into());
    }
    if ty.starts_with("int") && !ty.ends_with(']') {
        return Some(I256::from_dec_str(text).ok()?.into_raw().into());
    }
    let bytes = hex::decode(text).ok()?;
    (bytes.len() <= 32).then(|| B256::right_padding_from(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_between_structs_and_not_within() {
        let declaration = "Moved(address indexed user,(uint256,bool)[],bytes32 indexed) anonymous";
        assert_eq!(
            arguments(declaration),
            Some(vec!["address indexed user", "(uint256,bool)[]", "bytes32 indexed"])
        );
    }

    #[test]
    fn a_kept_value_is_the_topic_it_was() {
        let all = "f".repeat(64);
        for (ty, kept, expected) in [
            ("address", json("\"0x00000000000000000000000000000000000000aa\""), format!("{:0>64}", "aa")),
            ("uint256", json("\"255\""), format!("{:0>64}", "ff")),
            ("int8", json("\"-1\""), all.clone()),
            ("bool", json("true"), format!("{:0>64}", "1")),
            ("bytes4", json("\"0x01020304\""), format!("{:0<64}", "01020304")),
            ("string", json(&format!("\"0x{all}\"")), all),
        ] {
            assert_eq!(topic(ty, &kept).map(hex::encode), Some(expected), "{ty}");
        }
        assert_eq!(topic("uint256", &json("\"x\"")), None);
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).expect("it is JSON")
    }
}
