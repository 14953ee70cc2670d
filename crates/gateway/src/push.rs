//! From a message to rooms, events and frames. A message reaches each of its rooms once: under the name that the first `[[push]]` rule
//! gives it there, else as `message` with the whole message.

mod entry;
mod rooms;
mod rule;
mod template;

pub use entry::{Addressed, Entry, Row};
pub use rooms::keys;
pub use rule::{EventName, NameError, Rule, TypePattern};
pub use template::{RoomTemplate, Template, TemplateError};
