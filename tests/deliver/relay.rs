//! Messages leave the house: once, in order, whatever fails.

mod chaos;
mod cluster;
mod contract;
mod cuts;
pub mod end_to_end;
mod figures;
mod kills;
mod metrics;
mod order;
mod redis_sink;
mod redis_states;
mod restore;
mod retention;
mod sentinel;
mod tls;

use crate::consumer::{
    canonical, entries, fold, fold_users, in_order, outbox, published, until_all, until_sent, users,
};
use crate::relays::{Relays, connect, sources, sources_to};
