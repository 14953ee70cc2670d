//! The application's side against a real PostgreSQL.

mod events;
mod fixture;
