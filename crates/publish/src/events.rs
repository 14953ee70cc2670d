mod event;
mod names;
mod queue;
mod schemas;
mod write;

pub use event::ApplicationEvent;
pub(crate) use event::Defaults;
pub(crate) use names::user_id;
pub(crate) use queue::CommitQueue;
pub use queue::{PublishError, PublishReceipt, Published};
pub use schemas::{EventSchemas, SchemaFileError};
