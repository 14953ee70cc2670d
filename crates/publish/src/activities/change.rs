//! Applies a change to an activity. Pure.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use chainflume_core::domain::B256;

/// The status of an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivityStatus {
    /// Nothing has happened yet.
    Pending,
    /// It has begun.
    InProgress,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
}

impl ActivityStatus {
    /// All statuses.
    pub const ALL: [Self; 4] = [Self::Pending, Self::InProgress, Self::Completed, Self::Failed];

    /// The word in answers and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the status is final: callers may not change the activity any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// A transaction on a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityTransaction {
    /// EIP-155.
    pub chain_id: u64,
    /// Its hash.
    pub hash: B256,
}

impl ActivityTransaction {
    pub(crate) fn to_json(self) -> Value {
        json!({ "chainId": self.chain_id, "hash": format!("{:#x}", self.hash) })
    }
}

/// Who changes an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// A service or a user, by name.
    Caller(String),
    /// The task that follows transactions on their chains.
    Follower,
}

impl ChangedBy {
    /// The name in `activity_changes`.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Caller(name) => name,
            Self::Follower => "follower",
        }
    }

    /// Who closes the activity if the change does.
    pub(crate) fn closer(&self) -> ClosedBy {
        match self {
            Self::Caller(_) => ClosedBy::Caller,
            Self::Follower => ClosedBy::Follower,
        }
    }
}

/// Who gave an activity its final status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// A service or a user.
    Caller,
    /// The task that follows transactions on their chains.
    Follower,
}

impl ClosedBy {
    /// The word in `activities.closed_by`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Follower => "follower",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Caller, Self::Follower].into_iter().find(|closer| closer.as_str() == word)
    }
}

/// An activity as it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct NewActivity {
    /// Its id.
    pub id: Uuid,
    /// The application's own id.
    pub user_id: String,
    /// `send`, `deposit` …
    pub activity_type: String,
    /// The first status.
    pub status: ActivityStatus,
    /// For people.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// For programs.
    pub data: Map<String, Value>,
    /// What it follows.
    pub transaction: Option<ActivityTransaction>,
}

/// An activity.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// Its present fields.
    pub now: NewActivity,
    /// `None` while it is open.
    pub closed_by: Option<ClosedBy>,
    /// Number of its newest change.
    pub changes: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// Fields that change; the others stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActivityChange {
    /// The new status.
    pub status: Option<ActivityStatus>,
    /// The new title.
    pub title: Option<String>,
    /// The new description.
    pub description: Option<String>,
    /// Merged into the data as RFC 7396 defines: null removes a key.
    pub data: Option<Map<String, Value>>,
    /// What it follows from now on.
    pub transaction: Option<ActivityTransaction>,
}

/// The kind of a change: the last word of the type of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The activity began.
    Created,
    /// Something changed, and it is open.
    Updated,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
}

impl ChangeKind {
    /// The word in messages and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// The activity has a final status.
    #[error("the activity is {}, which is final", .0.as_str())]
    Final(ActivityStatus),
    /// The new status may not follow the present one.
    #[error("an activity that is {} cannot become {}", .0.as_str(), .1.as_str())]
    Transition(ActivityStatus, ActivityStatus),
    /// It follows another transaction already.
    #[error("the activity follows another transaction already")]
    OtherTransaction,
}

/// Sets title and description of an activity with a new status, if the configuration has texts for it.
pub(super) type NameActivity<'a> =
    &'a dyn Fn(&NewActivity, &ActivityChange) -> (Option<String>, Option<String>);

/// The result of applying a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppliedChange {
    pub now: NewActivity,
    pub closed_by: Option<ClosedBy>,
    pub kind: ChangeKind,
    /// The fields that differ, by their names in answers.
    pub changed: Map<String, Value>,
}

impl Activity {
    /// Applies the change; `None` if nothing differs.
    ///
    /// A change by the follower does not change the status of an activity that a caller closed; it is only recorded.
    ///
    /// # Errors
    /// [`ChangeRefused`], only for changes by callers.
    pub(crate) fn apply(
        &self,
        change: &ActivityChange,
        by: &ChangedBy,
        name: NameActivity<'_>,
    ) -> Result<Option<AppliedChange>, ChangeRefused> {
        let before = &self.now;
        if *by != ChangedBy::Follower {
            self.admits(change)?;
        }
        let is_kept = *by == ChangedBy::Follower && self.closed_by == Some(ClosedBy::Caller);
        let mut now = before.clone();
        now.status = change.status.filter(|_| !is_kept).unwrap_or(before.status);
        now.title = change.title.clone().unwrap_or(now.title);
        now.description = change.description.clone().or(now.description);
        now.data = change.data.as_ref().map_or(now.data, |patch| merged(&before.data, patch));
        now.transaction = change.transaction.or(now.transaction);
        if now.status != before.status {
            let (title, description) = name(&now, change);
            now.title = title.unwrap_or(now.title);
            now.description = description.or(now.description);
        }
        let changed = difference(before, &now);
        if changed.is_empty() {
            return Ok(None);
        }
        let kind = match now.status {
            status if status == before.status => ChangeKind::Updated,
            ActivityStatus::Completed => ChangeKind::Completed,
            ActivityStatus::Failed => ChangeKind::Failed,
            ActivityStatus::Pending | ActivityStatus::InProgress => ChangeKind::Updated,
        };
        let closed_by = match (now.status.is_final(), before.status.is_final()) {
            (false, _) => None,
            (true, true) if now.status == before.status => self.closed_by,
            (true, _) => Some(by.closer()),
        };
        Ok(Some(AppliedChange { now, closed_by, kind, changed }))
    }

    /// Whether the change is made already: what a repeat of its request finds.
    pub(crate) fn has(&self, change: &ActivityChange) -> bool {
        let is_there = change.status.is_none_or(|status| status == self.now.status);
        // A change by the follower is never refused.
        is_there && self.apply(change, &ChangedBy::Follower, &|_, _| (None, None)) == Ok(None)
    }

    /// Checks that a caller may make this change.
    fn admits(&self, change: &ActivityChange) -> Result<(), ChangeRefused> {
        let before = &self.now;
        if before.status.is_final() {
            return Err(ChangeRefused::Final(before.status));
        }
        match change.status {
            Some(ActivityStatus::Pending) if before.status == ActivityStatus::InProgress => {
                return Err(ChangeRefused::Transition(before.status, ActivityStatus::Pending));
            }
            _ => {}
        }
        match (before.transaction, change.transaction) {
            (Some(old), Some(new)) if old != new => Err(ChangeRefused::OtherTransaction),
            _ => Ok(()),
        }
    }
}

/// A patch of an object (RFC 7396).
pub(crate) fn merged(target: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut merged_fields = target.clone();
    for (name, value) in patch {
        match value {
            Value::Null => drop(merged_fields.remove(name)),
            Value::Object(inner) => {
                let old = target.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
                merged_fields.insert(name.clone(), Value::Object(merged(&old, inner)));
            }
            value => drop(merged_fields.insert(name.clone(), value.clone())),
        }
    }
    merged_fields
}

fn difference(before: &NewActivity, now: &NewActivity) -> Map<String, Value> {
    let mut changed = Map::new();
    let mut note = |name: &str, differs: bool, value: Value| {
        if differs {
            changed.insert(name.to_owned(), value);
        }
    };
    note("status", before.status != now.status, now.status.as_str().into());
    note("title", before.title != now.title, now.title.clone().into());
    note("description", before.description != now.description, now.description.clone().into());
    note("data", before.data != now.data, Value::Object(now.data.clone()));
    let transaction = now.transaction.map_or(Value::Null, ActivityTransaction::to_json);
    note("transaction", before.transaction != now.transaction, transaction);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use ActivityStatus::{Completed, Failed, InProgress, Pending};
    use ClosedBy::{Caller, Follower};

    fn activity(status: ActivityStatus, closed_by: Option<ClosedBy>) -> Activity {
        let now = NewActivity {
            id: Uuid::nil(),
            user_id: "7".to_owned(),
            activity_type: "send".to_owned(),
            status,
            title: "Send".to_owned(),
            description: None,
            data: Map::new(),
            transaction: None,
        };
        Activity { now, closed_by, changes: 1, created_at: String::new(), updated_at: String::new() }
    }

    fn to(status: ActivityStatus) -> ActivityChange {
        ActivityChange { status: Some(status), ..ActivityChange::default() }
    }

    fn unnamed(_: &NewActivity, _: &ActivityChange) -> (Option<String>, Option<String>) {
        (None, None)
    }

    fn caller() -> ChangedBy {
        ChangedBy::Caller("backend".to_owned())
    }

    #[test]
    fn a_final_status_is_final_for_callers() {
        for (from, closed) in
            [(Completed, Caller), (Failed, Caller), (Completed, Follower), (Failed, Follower)]
        {
            for change in ActivityStatus::ALL.map(to).into_iter().chain([ActivityChange::default()]) {
                let refused = activity(from, Some(closed)).apply(&change, &caller(), &unnamed);
                assert_eq!(refused, Err(ChangeRefused::Final(from)));
            }
        }
        let back = activity(InProgress, None).apply(&to(Pending), &caller(), &unnamed);
        assert_eq!(back, Err(ChangeRefused::Transition(InProgress, Pending)));
        for (from, status, kind) in [
            (Pending, InProgress, ChangeKind::Updated),
            (Pending, Completed, ChangeKind::Completed),
            (InProgress, Failed, ChangeKind::Failed),
        ] {
            let applied = activity(from, None)
                .apply(&to(status), &caller(), &unnamed)
                .expect("allowed")
                .expect("differs");
            assert_eq!((applied.now.status, applied.kind), (status, kind));
            assert_eq!(applied.closed_by, status.is_final().then_some(Caller));
        }
        assert_eq!(activity(Pending, None).apply(&to(Pending), &caller(), &unnamed), Ok(None));
    }

    #[test]
    fn the_follower_reopens_what_it_closed_and_nothing_else() {
        let follower = ChangedBy::Follower;
        let apply = |activity: Activity, status| {
            activity.apply(&to(status), &follower, &unnamed).expect("never refused")
        };
        let reopened = apply(activity(Completed, Some(Follower)), InProgress).expect("differs");
        assert_eq!((reopened.now.status, reopened.closed_by), (InProgress, None));
        let late = apply(activity(Failed, Some(Follower)), Completed).expect("differs");
        assert_eq!((late.now.status, late.kind), (Completed, ChangeKind::Completed));
        assert_eq!(apply(activity(Completed, Some(Caller)), InProgress), None);
        // The reorg is in the data, and the status stays the caller's.
        let note = ActivityChange { data: json!({ "reorged": true }).as_object().cloned(), ..to(InProgress) };
        let noted = activity(Completed, Some(Caller))
            .apply(&note, &follower, &unnamed)
            .expect("never refused")
            .expect("differs");
        assert_eq!(
            (noted.now.status, noted.kind, noted.closed_by),
            (Completed, ChangeKind::Updated, Some(Caller))
        );
    }

    #[test]
    fn data_is_merged_and_null_removes() {
        let object = |value: Value| value.as_object().cloned().expect("an object");
        let old = object(json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [1] }));
        let patch = object(json!({ "a": null, "b": { "c": 4, "x": { "y": null } }, "e": [2] }));
        assert_eq!(merged(&old, &patch), object(json!({ "b": { "c": 4, "d": 3, "x": {} }, "e": [2] })));
    }

    #[test]
    fn a_transaction_once_followed_is_followed_for_good() {
        let follow = |byte| ActivityChange {
            transaction: Some(ActivityTransaction { chain_id: 1, hash: B256::repeat_byte(byte) }),
            ..ActivityChange::default()
        };
        let first = activity(Pending, None)
            .apply(&follow(1), &caller(), &unnamed)
            .expect("allowed")
            .expect("differs");
        let following = Activity { now: first.now, ..activity(Pending, None) };
        assert_eq!(following.apply(&follow(1), &caller(), &unnamed), Ok(None));
        assert_eq!(following.apply(&follow(2), &caller(), &unnamed), Err(ChangeRefused::OtherTransaction));
    }
}
