//! From a message to rooms, events and frames. A message reaches each of its rooms once: under the name that the first `[[push]]` rule
//! gives it there, else in a user's room as `balance-updated` where it changed the user's balance, else as `message` with the whole
//! message.

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
