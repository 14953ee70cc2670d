mod change;
mod read;
mod row;
mod text;
mod write;

pub use change::{
    Activity, ActivityChange, ActivityStatus, ActivityTransaction, ChangeKind, ChangeRefused, ChangedBy,
    ClosedBy, NewActivity,
};
pub(crate) use read::ActivityFilter;
pub use text::{ActivityTemplate, ActivityText};
pub(crate) use text::{MAX_DESCRIPTION, MAX_TITLE, texts};
pub use write::{ActivityError, Changed};
