//! The application's side against a real PostgreSQL.

mod activities;
mod events;
pub(crate) mod fixture;
mod replay;
mod users;
