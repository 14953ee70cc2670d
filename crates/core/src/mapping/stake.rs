use crate::decode::{AbiEvent, AbiType};
use crate::domain::Projection;

use super::recipe::{Recipe, Role, Types};

/// What a source of this family must have one of.
pub(super) const KNOWN: &str = "Staked(address,uint256)";

/// `Staked(developer, amount)`: the developer's stake grows by the amount.
pub(super) fn recipe(event: &AbiEvent, types: &[&AbiType]) -> Option<Recipe> {
    match (event.name.as_str(), types) {
        ("Staked", [AbiType::Address, AbiType::Uint(_)]) => Some(Recipe::known(
            Types::One("stake.staked".to_owned()),
            Projection::Stake,
            &[Role::Account, Role::Amount],
        )),
        _ => None,
    }
}
