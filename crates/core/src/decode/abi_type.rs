use std::fmt;

use alloy_dyn_abi::DynSolType;
use alloy_dyn_abi::parser::{TypeSpecifier, TypeStem};
use alloy_json_abi::Param as JsonParam;

use super::names::unique_names;

/// Maximum depth of nested arrays and tuples. The reader recurses once for each level, so this bounds the stack.
const MAX_DEPTH: usize = 16;

/// A type of the Solidity ABI. `Display` gives its canonical name, as signatures have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbiType {
    /// `address`.
    Address,
    /// `uint<bits>`.
    Uint(usize),
    /// `int<bits>`.
    Int(usize),
    /// `bool`.
    Bool,
    /// `bytes<len>`, 1 to 32.
    FixedBytes(usize),
    /// `bytes`.
    Bytes,
    /// `string`.
    String,
    /// `T[]`.
    Array(Box<AbiType>),
    /// `T[n]`, never empty.
    FixedArray(Box<AbiType>, usize),
    /// A struct: unique names and the types of its members. Never empty: elements without bytes would let a log declare
    /// an array of 2^64 of them at no cost.
    Tuple(Vec<(String, AbiType)>),
}

impl AbiType {
    /// Reads the type of a parameter in a JSON ABI. `internalType` is ignored: an enum, a contract and a user-defined
    /// value type are encoded as the elementary type in `type`.
    pub(super) fn resolve(ty: &str, components: &[JsonParam]) -> Result<Self, String> {
        let resolved = Self::resolve_within(ty, components, MAX_DEPTH)?;
        if resolved.depth() > MAX_DEPTH {
            return Err(too_deep(ty));
        }
        Ok(resolved)
    }

    fn resolve_within(ty: &str, components: &[JsonParam], depth: usize) -> Result<Self, String> {
        // Compilers write this for types of a library. alloy reads it as an enum, but it may be a struct.
        if ty.contains('.') {
            return Err(format!(
                "type `{ty}` is a name; write the type it is encoded as (`uint8` for an enum)"
            ));
        }
        let specifier = TypeSpecifier::parse(ty).map_err(|_| unknown(ty))?;
        if depth == 0 || specifier.sizes.len() > MAX_DEPTH {
            return Err(too_deep(ty));
        }
        let TypeStem::Root(root) = &specifier.stem else {
            return Err(format!("type `{ty}` has no names: write it as `tuple` with `components`"));
        };
        let stem = match root.span() {
            "tuple" if components.is_empty() => return Err("a tuple without `components`".to_owned()),
            "tuple" => {
                let names = unique_names(components.iter().map(|c| c.name.as_str()));
                let types = components.iter().map(|c| Self::resolve_within(&c.ty, &c.components, depth - 1));
                let types = types.collect::<Result<Vec<_>, _>>()?;
                Self::Tuple(names.into_iter().zip(types).collect())
            }
            elementary => Self::elementary(elementary)?,
        };
        Ok(specifier.sizes.iter().fold(stem, |inner, size| match size {
            Some(size) => Self::FixedArray(Box::new(inner), size.get()),
            None => Self::Array(Box::new(inner)),
        }))
    }

    fn elementary(name: &str) -> Result<Self, String> {
        match DynSolType::parse(name) {
            Ok(DynSolType::Address) => Ok(Self::Address),
            Ok(DynSolType::Uint(bits)) => Ok(Self::Uint(bits)),
            Ok(DynSolType::Int(bits)) => Ok(Self::Int(bits)),
            Ok(DynSolType::Bool) => Ok(Self::Bool),
            Ok(DynSolType::FixedBytes(len)) => Ok(Self::FixedBytes(len)),
            Ok(DynSolType::Bytes) => Ok(Self::Bytes),
            Ok(DynSolType::String) => Ok(Self::String),
            Ok(DynSolType::Function) => Err("function pointers are not supported".to_owned()),
            _ if name.trim_start_matches('u').starts_with("fixed") => {
                Err(format!("fixed-point type `{name}` is not supported"))
            }
            _ => Err(unknown(name)),
        }
    }

    /// Whether the topic holds an indexed argument of this type itself and not its hash. True for types of one word;
    /// false for `bytes`, `string`, arrays and tuples, even of static size.
    pub fn is_word(&self) -> bool {
        matches!(self, Self::Address | Self::Uint(_) | Self::Int(_) | Self::Bool | Self::FixedBytes(_))
    }

    /// Whether the head holds an offset to the value.
    pub(super) fn is_dynamic(&self) -> bool {
        match self {
            Self::Bytes | Self::String | Self::Array(_) => true,
            Self::FixedArray(inner, _) => inner.is_dynamic(),
            Self::Tuple(fields) => fields.iter().any(|(_, ty)| ty.is_dynamic()),
            _ => false,
        }
    }

    /// Number of words in the head, at least one. Saturates.
    pub(super) fn head_words(&self) -> usize {
        if self.is_dynamic() { 1 } else { self.inner_words() }
    }

    /// Number of words of the inner head, at the target of the offset.
    pub(super) fn inner_words(&self) -> usize {
        match self {
            Self::FixedArray(inner, len) => inner.head_words().saturating_mul(*len),
            Self::Tuple(fields) => {
                fields.iter().fold(0usize, |sum, (_, ty)| sum.saturating_add(ty.head_words()))
            }
            _ => 1,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Array(inner) | Self::FixedArray(inner, _) => 1 + inner.depth(),
            Self::Tuple(fields) => 1 + fields.iter().map(|(_, ty)| ty.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

fn unknown(ty: &str) -> String {
    format!("type `{ty}` is not an ABI type")
}

fn too_deep(ty: &str) -> String {
    format!("type `{ty}` nests arrays and tuples more than {MAX_DEPTH} deep")
}

impl fmt::Display for AbiType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::Bool => f.write_str("bool"),
            Self::FixedBytes(len) => write!(f, "bytes{len}"),
            Self::Bytes => f.write_str("bytes"),
            Self::String => f.write_str("string"),
            Self::Array(inner) => write!(f, "{inner}[]"),
            Self::FixedArray(inner, len) => write!(f, "{inner}[{len}]"),
            Self::Tuple(fields) => {
                f.write_str("(")?;
                for (i, (_, ty)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{ty}")?;
                }
                f.write_str(")")
            }
        }
    }
}
