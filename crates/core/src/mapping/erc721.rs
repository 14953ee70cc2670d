use crate::decode::{AbiEvent, AbiType};
use crate::domain::Projection;

use super::recipe::{ArgumentRole, MessageTypes, Recipe};

/// Signatures of which a source of this family must have at least one.
pub(super) const KNOWN: &str = "Transfer(address,address,uint256), Approval(address,address,uint256) or \
                                ApprovalForAll(address,address,bool)";

/// [EIP-721](https://eips.ethereum.org/EIPS/eip-721): `Transfer(from, to, tokenId)`,
/// `Approval(owner, approved, tokenId)` and `ApprovalForAll(owner, operator, approved)`.
pub(super) fn recipe(event: &AbiEvent, types: &[&AbiType]) -> Option<Recipe> {
    let token = [ArgumentRole::Account, ArgumentRole::Counterparty, ArgumentRole::TokenId];
    match (event.name.as_str(), types) {
        ("Transfer", [AbiType::Address, AbiType::Address, AbiType::Uint(_)]) => {
            Some(Recipe::known(MessageTypes::Movement("erc721"), Projection::Owner, &token))
        }
        ("Approval", [AbiType::Address, AbiType::Address, AbiType::Uint(_)]) => {
            Some(Recipe::known(MessageTypes::One("erc721.approval".to_owned()), Projection::None, &token))
        }
        // The key of the standard: consumers find it under one name, independent of the ABI.
        ("ApprovalForAll", [AbiType::Address, AbiType::Address, AbiType::Bool]) => Some(Recipe::known(
            MessageTypes::One("erc721.approval_for_all".to_owned()),
            Projection::None,
            &[ArgumentRole::Account, ArgumentRole::Counterparty, ArgumentRole::Arg("approved".to_owned())],
        )),
        _ => None,
    }
}
