use crate::decode::{AbiEvent, AbiType};
use crate::domain::{Fact, Projection, TokenRange};

use super::problem::MapLogError;
use super::recipe::{ArgumentRole, MessageTypes, Recipe};

/// Signatures of which a source of this family must have at least one.
pub(super) const KNOWN: &str = "Transfer(address,address,uint256), Approval(address,address,uint256), \
                                ApprovalForAll(address,address,bool) or \
                                ConsecutiveTransfer(uint256,uint256,address,address)";

/// [EIP-721](https://eips.ethereum.org/EIPS/eip-721): `Transfer(from, to, tokenId)`,
/// `Approval(owner, approved, tokenId)` and `ApprovalForAll(owner, operator, approved)`.
/// [EIP-2309](https://eips.ethereum.org/EIPS/eip-2309): `ConsecutiveTransfer(fromTokenId, toTokenId, fromAddress, toAddress)`,
/// both ids included. Its messages have a type of their own: a reader of `erc721.mint` expects one token.
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
        ("ConsecutiveTransfer", [AbiType::Uint(_), AbiType::Uint(_), AbiType::Address, AbiType::Address]) => {
            Some(Recipe::known(
                MessageTypes::One("erc721.consecutive_transfer".to_owned()),
                Projection::OwnerRange,
                &[
                    ArgumentRole::TokenId,
                    ArgumentRole::Arg(TokenRange::LAST_KEY.to_owned()),
                    ArgumentRole::Account,
                    ArgumentRole::Counterparty,
                ],
            ))
        }
        _ => None,
    }
}

/// Refuses a range of tokens that cannot be counted.
pub(super) fn check_range(fact: &Fact) -> Result<(), MapLogError> {
    match TokenRange::of(fact) {
        None => Err(MapLogError::RangeBackwards),
        Some(range) if range.is_too_long() => {
            let TokenRange { first, last } = range;
            Err(MapLogError::RangeTooLong { first, last, max: TokenRange::MAX })
        }
        Some(_) => Ok(()),
    }
}
