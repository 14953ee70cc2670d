//! Messages about events, for the outbox: written in the transaction that stores or undoes the events.

mod event;
mod publication;
mod replay;
mod users;

pub(super) use event::{EventRef, RemovedUsers};
pub(super) use publication::{
    Publication, PublishedEvents, publish_pending, published, retract_pending, retractions,
};
pub use replay::ChainReplay;
pub(super) use users::{StakedWallet, TakenBack, are_active, taken_back};
