//! The application's side against a real PostgreSQL.

mod activities;
mod events;
pub(crate) mod fixture;
mod repeats;
mod replay;
mod traces;
mod users;
