use thiserror::Error;

use crate::decode::{AbiEvent, AbiType, Param, SupplyChange};
use crate::domain::Projection;

use super::generic;
use super::recipe::{ArgumentRole, MessageTypes, Recipe};

/// Signatures of which a source of this family must have at least one.
pub(super) const KNOWN: &str = "Transfer(address,address,uint256) or Approval(address,address,uint256)";

/// [EIP-20](https://eips.ethereum.org/EIPS/eip-20): `Transfer(from, to, value)` and `Approval(owner, spender, value)`.
/// Exactly three arguments: ERC-223 tokens also emit a `Transfer` with four, and both together would count twice.
pub(super) fn recipe(event: &AbiEvent, types: &[&AbiType]) -> Option<Recipe> {
    if let Some(change) = event.supply {
        return supply(event, change).ok();
    }
    transfer(event, types)
}

fn transfer(event: &AbiEvent, types: &[&AbiType]) -> Option<Recipe> {
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

/// Why an event cannot mint or burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SupplyProblem {
    /// It is a transfer or an approval, which changes balances already.
    #[error("it is a transfer or an approval")]
    Counted,
    /// It mints as well as burns.
    #[error("it is configured to mint and to burn")]
    Both,
    /// Not one address and one number.
    #[error("it has {addresses} addresses and {numbers} numbers")]
    Arguments {
        /// Arguments that are addresses.
        addresses: usize,
        /// Arguments that are unsigned numbers.
        numbers: usize,
    },
}

/// Checks that an event can mint or burn.
///
/// # Errors
/// The reason if it cannot.
pub fn check_supply(event: &AbiEvent, change: SupplyChange) -> Result<(), SupplyProblem> {
    let types: Vec<&AbiType> = event.params.iter().map(|param| &param.ty).collect();
    if transfer(event, &types).is_some() {
        return Err(SupplyProblem::Counted);
    }
    if event.supply.is_some_and(|supply| supply != change) {
        return Err(SupplyProblem::Both);
    }
    supply(event, change).map(|_| ())
}

/// The recipe of an event that mints or burns: as a transfer from or to the zero address. Its one address is the account and its one
/// number the amount; other arguments are stored by their names.
fn supply(event: &AbiEvent, change: SupplyChange) -> Result<Recipe, SupplyProblem> {
    let count = |is: fn(&AbiType) -> bool| event.params.iter().filter(|param| is(&param.ty)).count();
    let (addresses, numbers) =
        (count(|ty| *ty == AbiType::Address), count(|ty| matches!(ty, AbiType::Uint(_))));
    if (addresses, numbers) != (1, 1) {
        return Err(SupplyProblem::Arguments { addresses, numbers });
    }
    let (holder, word) = match change {
        SupplyChange::Mint => (ArgumentRole::Counterparty, "mint"),
        SupplyChange::Burn => (ArgumentRole::Account, "burn"),
    };
    let kept = generic::recipe(event, None);
    let role = |(param, kept): (&Param, ArgumentRole)| match param.ty {
        AbiType::Address => holder.clone(),
        AbiType::Uint(_) => ArgumentRole::Amount,
        _ => kept,
    };
    let roles: Vec<ArgumentRole> = event.params.iter().zip(kept.roles).map(role).collect();
    Ok(Recipe::known(MessageTypes::One(format!("erc20.{word}")), Projection::Balance, &roles))
}
