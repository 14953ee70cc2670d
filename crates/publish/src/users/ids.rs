//! The ids of a person.

use crate::Publisher;
use chainflume_db::StoreError;
use chainflume_db::people::{ids_of_person, person_of};
use chainflume_db::transaction::begin_look;

/// The ids of a person, the application's own first; none where there is no such person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PersonIds(pub Vec<String>);

impl PersonIds {
    /// Those that are not among `others`.
    pub fn without(&self, others: &Self) -> Vec<&str> {
        self.0.iter().filter(|id| !others.0.contains(id)).map(String::as_str).collect()
    }
}

impl Publisher {
    /// The ids by which a person is known: the application's own, other ids of the application that were merged into it, the wallets,
    /// and those of the wallets' records; `None` where no person has this id.
    ///
    /// # Errors
    /// A database error.
    pub async fn ids_of(&self, id: &str) -> Result<Option<Vec<String>>, StoreError> {
        let mut tx = begin_look(&self.0.pool).await?;
        let Some(own) = person_of(&mut tx, id).await? else { return Ok(None) };
        Ok(Some(ids_of_person(&mut tx, &own).await?))
    }
}
