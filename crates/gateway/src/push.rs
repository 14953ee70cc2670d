//! From a message to rooms, events and frames. A message reaches each of its rooms once, as one event. The event's name in a room is the
//! name of the first `[[push]]` rule that reaches the room. Without such a rule a user's room gets `activity` for a message about an
//! activity, or `balance-updated` for a message that changed the user's balance. Any other room gets `message`, with the whole message.

mod balance;
mod entry;
mod rooms;
mod rule;
mod template;

pub use balance::{BalanceKey, KnownBalance, Lookups, changed_balances};
pub use entry::{Addressed, Entry, Row};
pub use rooms::{is_off_chain, keys};
pub use rule::{EventName, NameError, PushRule};
pub use template::{PayloadTemplate, RoomTemplate, RoomTemplateError};
