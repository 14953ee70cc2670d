use crate::decode::{AbiEvent, AbiType};
use crate::domain::Projection;

use super::recipe::{ArgumentRole, MessageTypes, Recipe};

/// Signatures of which a source of this family must have at least one.
pub(super) const KNOWN: &str = "Transfer(address,address,uint256) or Approval(address,address,uint256)";

/// [EIP-20](https://eips.ethereum.org/EIPS/eip-20): `Transfer(from, to, value)` and `Approval(owner, spender, value)`.
/// Exactly three arguments: ERC-223 tokens also emit a `Transfer` with four, and both together would count twice.
pub(super) fn recipe(event: &AbiEvent, types: &[&AbiType]) -> Option<Recipe> {
    let [AbiType::Address, AbiType::Address, AbiType::Uint(_)] = types else { return None };
    let roles = [ArgumentRole::Account, ArgumentRole::Counterparty, ArgumentRole::Amount];
    match event.name.as_str() {
        "Transfer" => Some(Recipe::known(MessageTypes::Movement("erc20"), Projection::Balance, &roles)),
        "Approval" => {
            Some(Recipe::known(MessageTypes::One("erc20.approval".to_owned()), Projection::Allowance, &roles))
        }
        _ => None,
    }
}
