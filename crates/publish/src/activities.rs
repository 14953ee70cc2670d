mod change;
mod read;
mod row;
mod write;

pub use change::{
    Activity, ActivityChange, ActivityStatus, ActivityTransaction, ChangeKind, ChangeRefused, ChangedBy,
    NewActivity,
};
pub(crate) use read::ActivityFilter;
pub use write::{ActivityError, Changed};
