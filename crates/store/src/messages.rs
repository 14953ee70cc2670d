//! Messages about events, for the outbox: written in the transaction of what they are about.

mod event;
mod publication;
mod replay;
mod users;

pub(super) use event::EventRef;
pub(super) use publication::{
    Publication, PublishedEvents, publish_pending, published, retract, retractions,
};
pub use replay::ChainReplay;
pub(super) use users::{StakedWallet, TakenBack, are_active, taken_back};
