mod event;
mod names;
mod own;
mod queue;
mod schemas;
mod write;

pub use event::{ApplicationEvent, Defaults};
pub use names::{aggregate, event_type, user_id};
pub use own::{OwnFact, record};
pub(crate) use queue::CommitQueue;
pub use queue::{PublishError, PublishReceipt, Published};
pub use schemas::{EventSchemas, SchemaFileError};
