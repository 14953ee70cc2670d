//! Composes the messages about stored events: what the JSON contains is decided here, from facts alone. The store looks
//! up the facts, and the outbox numbers the messages.

mod event;
mod layout;
mod topics;
mod user;

#[cfg(test)]
mod tests;

pub use event::{EventUsers, MessageStage, MessageSubject, parties};
pub use layout::{DescribedKind, Layout};
pub use user::{UserChange, UserState};
