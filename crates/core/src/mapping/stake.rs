use crate::decode::{AbiEvent, AbiType};
use crate::domain::Projection;

use super::recipe::{ArgumentRole, MessageTypes, Recipe};

/// Signatures of which a source of this family must have at least one.
pub(super) const KNOWN: &str = "Staked(address,uint256)";

/// `Staked(developer, amount)`: the developer's stake grows by the amount.
pub(super) fn recipe(event: &AbiEvent, types: &[&AbiType]) -> Option<Recipe> {
    match (event.name.as_str(), types) {
        ("Staked", [AbiType::Address, AbiType::Uint(_)]) => Some(Recipe::known(
            MessageTypes::One("stake.staked".to_owned()),
            Projection::Stake,
            &[ArgumentRole::Account, ArgumentRole::Amount],
        )),
        _ => None,
    }
}
