use crate::decode::{AbiEvent, unique_names};
use crate::domain::Projection;

use super::recipe::{ArgumentRole, MessageTypes, Recipe};

/// Keeps all arguments under their names. The key of an indexed argument that does not fit a topic is `<name>_hash`:
/// the log holds only its hash.
pub(super) fn recipe(event: &AbiEvent, user: Option<&str>) -> Recipe {
    let keys: Vec<String> = event
        .params
        .iter()
        .map(|param| if param.is_hashed() { format!("{}_hash", param.name) } else { param.name.clone() })
        .collect();
    Recipe {
        types: MessageTypes::One(format!("contract.{}", event.name)),
        projection: Projection::None,
        roles: unique_names(keys.iter().map(String::as_str)).into_iter().map(ArgumentRole::Arg).collect(),
        user: user.and_then(|user| event.params.iter().position(|param| param.name == user)),
    }
}
