//! The store against a real PostgreSQL.

mod advance;
mod audit;
mod backfill;
mod dead_letters;
mod emptying;
mod epochs;
mod fill;
mod fixture;
mod indexes;
mod leases;
mod migrate;
mod names;
mod outbox;
mod pending;
mod property;
mod query;
mod retention;
mod rewind;
mod rooms;
mod sql;
mod stage;
mod tcp;
mod users;
mod views;
