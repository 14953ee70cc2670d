use alloy_primitives::{Address, B256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::RpcError;

/// A block parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Number(u64),
    Earliest,
    /// Also `pending`: this chain has no pending block.
    Latest,
    Safe,
    Finalized,
}

/// The parameters of a call by position; parameters that are not an array count as none.
pub(super) struct Params<'a>(pub(super) &'a Value);

impl Params<'_> {
    pub(super) fn get(&self, index: usize) -> Result<&Value, RpcError> {
        let value = self.0.get(index).filter(|value| !value.is_null());
        value.ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
    }

    pub(super) fn tag(&self, index: usize) -> Result<Tag, RpcError> {
        tag(self.get(index)?).map_err(|e| at(index, &e))
    }

    pub(super) fn hash(&self, index: usize) -> Result<B256, RpcError> {
        parse(self.get(index)?).map_err(|e| at(index, &e))
    }

    pub(super) fn address(&self, index: usize) -> Result<Address, RpcError> {
        parse(self.get(index)?).map_err(|e| at(index, &e))
    }

    /// `false` if absent.
    pub(super) fn flag(&self, index: usize) -> bool {
        self.0.get(index).and_then(Value::as_bool).unwrap_or_default()
    }
}

/// `Err` describes the problem with the value.
pub(super) fn tag(value: &Value) -> Result<Tag, String> {
    match value.as_str().ok_or_else(|| format!("cannot read {value} as a block number"))? {
        "earliest" => Ok(Tag::Earliest),
        "latest" | "pending" => Ok(Tag::Latest),
        "safe" => Ok(Tag::Safe),
        "finalized" => Ok(Tag::Finalized),
        number => quantity(number).map(Tag::Number),
    }
}

/// As strict as go-ethereum: `0x` and no leading zeros.
fn quantity(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or("hex string without 0x prefix")?;
    match digits {
        "" => Err("hex string \"0x\"".to_owned()),
        "0" => Ok(0),
        _ if digits.starts_with('0') => Err("hex number with leading zero digits".to_owned()),
        _ if !digits.bytes().all(|b| b.is_ascii_hexdigit()) => Err("invalid hex string".to_owned()),
        _ => u64::from_str_radix(digits, 16).map_err(|_| "hex number > 64 bits".to_owned()),
    }
}

/// Reads an address or a hash.
pub(super) fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

fn at(index: usize, error: &str) -> RpcError {
    RpcError::params(format!("invalid argument {index}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quantity_is_minimal_hex_or_a_tag() {
        assert_eq!(tag(&json!("0x0")), Ok(Tag::Number(0)));
        assert_eq!(tag(&json!("0x1f")), Ok(Tag::Number(31)));
        assert_eq!(tag(&json!("pending")), Ok(Tag::Latest));
        assert_eq!(tag(&json!("finalized")), Ok(Tag::Finalized));
        for bad in [json!("0x01"), json!("12"), json!("0x"), json!("0x+1"), json!(12), json!("newest")] {
            assert!(tag(&bad).is_err(), "{bad}");
        }
    }
}
