//! Who may read and write what is about a person.

use sqlx::postgres::PgPool;

use chainflume_api::access::{Principal, Scope};
use chainflume_db::StoreError;
use chainflume_db::people::person_of;
use chainflume_db::transaction::begin_look;

/// Whether a caller may read what is about the user with this id: a caller who may join the user's room, or who is the same person by
/// another id.
///
/// # Errors
/// A database error.
pub async fn may_read_user(pool: &PgPool, caller: &Principal, id: &str) -> Result<bool, StoreError> {
    Ok(caller.may_read_user(id) || is_person(pool, caller, id).await?)
}

/// Whether a caller may read the record of this user: a service that writes such records reads them too.
///
/// # Errors
/// A database error.
pub async fn may_read_record(pool: &PgPool, caller: &Principal, id: &str) -> Result<bool, StoreError> {
    let is_writer = matches!(caller, Principal::Service(service) if service.scopes.has(Scope::Publish));
    Ok(is_writer || may_read_user(pool, caller, id).await?)
}

/// Whether a caller may write the record of this user.
///
/// # Errors
/// A database error.
pub async fn may_write_record(pool: &PgPool, caller: &Principal, id: &str) -> Result<bool, StoreError> {
    Ok(caller.has(Scope::Publish) || is_person(pool, caller, id).await?)
}

/// Whether the token is of the person that the id leads to.
async fn is_person(pool: &PgPool, caller: &Principal, id: &str) -> Result<bool, StoreError> {
    let Principal::User(user) = caller else { return Ok(false) };
    if user.id == id {
        return Ok(true);
    }
    let mut tx = begin_look(pool).await?;
    let Some(own) = person_of(&mut tx, &user.id).await? else { return Ok(false) };
    Ok(person_of(&mut tx, id).await?.is_some_and(|other| other == own))
}
