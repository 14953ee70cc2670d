//! The application's side against a real PostgreSQL.

mod activities;
mod events;
mod fixture;
mod replay;
mod users;
