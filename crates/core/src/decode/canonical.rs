use alloy_dyn_abi::DynSolValue;

use super::abi_type::AbiType;
use super::event::AbiEvent;
use super::value::Value;

/// Encodes `args` as a compiler does: the data of a log, without indexed arguments, in order.
pub(super) fn encode(event: &AbiEvent, args: &[Value]) -> Vec<u8> {
    let body = event.params.iter().zip(args).filter(|(param, _)| !param.indexed);
    DynSolValue::Tuple(body.map(|(param, value)| to_dynamic(&param.ty, value)).collect()).abi_encode_params()
}

fn to_dynamic(ty: &AbiType, value: &Value) -> DynSolValue {
    match (value, ty) {
        (Value::Address(address), _) => DynSolValue::Address(*address),
        (Value::Uint(number), _) => DynSolValue::Uint(*number, 256),
        (Value::Int(number), _) => DynSolValue::Int(*number, 256),
        (Value::Bool(truth), _) => DynSolValue::Bool(*truth),
        (Value::FixedBytes { word, .. } | Value::Hash(word), _) => DynSolValue::FixedBytes(*word, 32),
        // A string is encoded from its bytes; the type of alloy accepts only UTF-8.
        (Value::Bytes(bytes) | Value::Text(bytes), _) => DynSolValue::Bytes(bytes.to_vec()),
        (Value::Array(items), AbiType::FixedArray(inner, _)) => {
            DynSolValue::FixedArray(items.iter().map(|item| to_dynamic(inner, item)).collect())
        }
        (Value::Array(items), AbiType::Array(inner)) => {
            DynSolValue::Array(items.iter().map(|item| to_dynamic(inner, item)).collect())
        }
        (Value::Tuple(items), AbiType::Tuple(fields)) => {
            DynSolValue::Tuple(fields.iter().zip(items).map(|((_, ty), item)| to_dynamic(ty, item)).collect())
        }
        // The decoder never returns such a pair. An empty value here makes the comparison fail.
        (Value::Array(_) | Value::Tuple(_), _) => DynSolValue::Tuple(Vec::new()),
    }
}
