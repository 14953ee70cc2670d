use alloy_primitives::hex;
use serde::ser::{Error, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::decode::{AbiType, Param, Value};

use super::problem::MapLogError;
use super::recipe::ArgumentRole;

/// PostgreSQL accepts up to 256 MB in one `jsonb`; no log of that size is known.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The arguments without a column of their own, as the text of a JSON object, in the order of the ABI.
///
/// | type | JSON |
/// |---|---|
/// | `uint<n>`, `int<n>` | decimal string: most readers parse JSON numbers as doubles |
/// | `address`, `bytes<n>`, `bytes`, hashes | `0x` string in lower case |
/// | `bool` | `true`, `false` |
/// | `string` | string; `{"hex": "0x…"}` if it holds NUL, which PostgreSQL refuses, or is no UTF-8 |
/// | arrays | array |
/// | structs | object |
pub(super) fn to_json(
    params: &[Param],
    roles: &[ArgumentRole],
    values: &[Value],
) -> Result<String, MapLogError> {
    // Written by hand, because `serde_json::Map` sorts its keys.
    let args = Args { params, roles, values };
    let json = serde_json::to_string(&args).map_err(|_| MapLogError::Type { position: args.misfit() })?;
    if json.len() > MAX_BYTES {
        return Err(MapLogError::TooLong { bytes: json.len(), max: MAX_BYTES });
    }
    Ok(json)
}

struct Args<'a> {
    params: &'a [Param],
    roles: &'a [ArgumentRole],
    values: &'a [Value],
}

impl<'a> Args<'a> {
    fn iter(&self) -> impl Iterator<Item = (&'a String, Arg<'a>)> {
        let (params, roles, values) = (self.params, self.roles, self.values);
        params.iter().zip(roles).zip(values).filter_map(|((param, role), value)| match role {
            ArgumentRole::Arg(key) => Some((key, Arg { ty: &param.ty, value })),
            _ => None,
        })
    }

    /// Position of the first value whose type does not match.
    fn misfit(&self) -> usize {
        let fits = |(_, arg): &(&String, Arg<'_>)| serde_json::to_string(arg).is_ok();
        self.iter().take_while(fits).count()
    }
}

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

struct Arg<'a> {
    ty: &'a AbiType,
    value: &'a Value,
}

impl Serialize for Arg<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.value, self.ty) {
            (Value::Address(address), _) => as_hex(serializer, address.as_slice()),
            (Value::Uint(number), _) => serializer.collect_str(number),
            (Value::Int(number), _) => serializer.collect_str(number),
            (Value::Bool(truth), _) => serializer.serialize_bool(*truth),
            (Value::FixedBytes { word, len }, _) => as_hex(serializer, word.get(..*len).unwrap_or(&word[..])),
            (Value::Bytes(bytes), _) => as_hex(serializer, bytes),
            (Value::Hash(hash), _) => as_hex(serializer, hash.as_slice()),
            (Value::Text(bytes), _) => text(serializer, bytes),
            (Value::Array(items), AbiType::Array(ty) | AbiType::FixedArray(ty, _)) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    seq.serialize_element(&Arg { ty, value })?;
                }
                seq.end()
            }
            (Value::Tuple(items), AbiType::Tuple(fields)) if items.len() == fields.len() => {
                let pairs = fields.iter().zip(items).map(|((name, ty), value)| (name, Arg { ty, value }));
                serializer.collect_map(pairs)
            }
            (Value::Array(_) | Value::Tuple(_), ty) => Err(S::Error::custom(format!("not {ty}"))),
        }
    }
}

fn as_hex<S: Serializer>(serializer: S, bytes: &[u8]) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode_prefixed(bytes))
}

fn text<S: Serializer>(serializer: S, bytes: &[u8]) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => serializer.serialize_str(text),
        _ => {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("hex", &hex::encode_prefixed(bytes))?;
            map.end()
        }
    }
}
