use std::time::SystemTime;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::change::{
    Activity, ActivityChange, ActivityStatus, ActivityTransaction, AppliedChange, ChangeKind, ChangeRefused,
    ChangedBy, ClosedBy, NewActivity,
};
use super::row::ActivityRow;
use super::text::texts;
use crate::{Publisher, ids};
use chainflume_core::domain::{AggregateRef, B256, OffChainMessage, OffChainMetadata, rfc3339_millis};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::{Tx, begin_bounded};
use chainflume_ops::metrics;
use chainflume_outbox::{Position, append_off_chain, off_chain_drafts};

/// Maximum number of activities that one hint changes: few activities share a transaction.
const MAX_HINTED: i64 = 100;

/// Why an activity was not written.
#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    /// There is no activity with this id.
    #[error("there is no activity of this id")]
    Unknown,
    /// The change is not allowed.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// Its data would be too large.
    #[error("the data of the activity would have {0} bytes")]
    TooLarge(usize),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ActivityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// An activity after a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Its present state.
    pub activity: Activity,
    /// The position of the change's message; `None` if nothing differed.
    pub position: Option<Position>,
}

/// A change that was decided, to be written.
struct NotedChange<'a> {
    now: &'a NewActivity,
    number: u64,
    kind: ChangeKind,
    by: &'a ChangedBy,
    changed: Map<String, Value>,
    at: String,
}

impl Publisher {
    /// Stores a new activity. If its id is stored already, nothing changes, and the stored activity is returned.
    ///
    /// # Errors
    /// [`ActivityError`]
    pub async fn create_activity(
        &self,
        new: NewActivity,
        by: &ChangedBy,
    ) -> Result<Option<Position>, ActivityError> {
        self.fits(&new.data)?;
        let at = now();
        let mut tx = begin_bounded(&self.0.pool).await?;
        let inserted = sqlx::query(
            r"
            insert into activities (id, user_id, type, status, title, description, data, chain_id, tx_hash, closed_by,
                created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9, $10, $11::text::timestamptz, $11::text::timestamptz)
            on conflict on constraint activities_pkey do nothing
            ",
        )
        .bind(new.id)
        .bind(&new.user_id)
        .bind(&new.activity_type)
        .bind(new.status.as_str())
        .bind(&new.title)
        .bind(&new.description)
        .bind(Value::Object(new.data.clone()).to_string())
        .bind(chain_id(new.transaction)?)
        .bind(new.transaction.map(|transaction| transaction.hash.to_vec()))
        .bind(new.status.is_final().then(|| by.closer().as_str()))
        .bind(&at)
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(None);
        }
        let changed = new.payload(&at);
        let step = NotedChange { now: &new, number: 1, kind: ChangeKind::Created, by, changed, at };
        let position = note(&mut tx, step).await?;
        tx.commit().await?;
        metrics::activity_changed(ChangeKind::Created.as_str());
        Ok(position)
    }

    /// Changes an activity, always by its id. Changes of one activity wait for each other, so that messages have their order.
    ///
    /// # Errors
    /// [`ActivityError`]
    pub async fn change_activity(
        &self,
        id: Uuid,
        change: &ActivityChange,
        by: &ChangedBy,
    ) -> Result<Changed, ActivityError> {
        let mut tx = begin_bounded(&self.0.pool).await?;
        let (changed, kind) = self.change_in(&mut tx, id, change, by).await?;
        tx.commit().await?;
        if let Some(kind) = kind {
            metrics::activity_changed(kind.as_str());
        }
        Ok(changed)
    }

    /// Changes an activity after its transaction changed, in the database transaction `tx` that stores this. Returns the kind of the
    /// change, to count it after the commit; `None` for a deleted activity. If the data has no room for `transactionState`, only the
    /// status changes: an open activity would be followed again and again.
    ///
    /// # Errors
    /// A database error.
    pub async fn follow_activity(
        &self,
        tx: &mut Tx,
        id: Uuid,
        change: &ActivityChange,
    ) -> Result<Option<ChangeKind>, StoreError> {
        let mut changed = self.change_in(tx, id, change, &ChangedBy::Follower).await;
        if let Err(ActivityError::TooLarge(_)) = changed {
            let status = ActivityChange { data: None, ..change.clone() };
            changed = self.change_in(tx, id, &status, &ChangedBy::Follower).await;
        }
        match changed {
            Err(ActivityError::Store(error)) => Err(error),
            Ok((_, kind)) => Ok(kind),
            Err(_) => Ok(None),
        }
    }

    /// Moves the pending activities of these transactions to `in_progress`, because `provider` reports that the chain has them. Returns how
    /// many.
    ///
    /// # Errors
    /// A database error. Activities before it have moved.
    pub async fn hint_activities(
        &self,
        chain_id: u64,
        transactions: &[B256],
        provider: &str,
    ) -> Result<usize, StoreError> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select id from activities where chain_id = $1 and tx_hash = any($2) and status = 'pending' order by id limit $3",
        )
        .bind(int8("chain id", chain_id)?)
        .bind(transactions.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>())
        .bind(MAX_HINTED)
        .fetch_all(&self.0.pool)
        .await?;
        let change = ActivityChange { status: Some(ActivityStatus::InProgress), ..ActivityChange::default() };
        let (by, mut moved) = (ChangedBy::Caller(provider.to_owned()), 0);
        for id in ids {
            match self.change_activity(id, &change, &by).await {
                Ok(changed) => moved += usize::from(changed.position.is_some()),
                Err(ActivityError::Store(error)) => return Err(error),
                // It has ended meanwhile.
                Err(_) => {}
            }
        }
        Ok(moved)
    }

    /// Changes an activity in a transaction. Returns what kind of change it was, where something differed.
    async fn change_in(
        &self,
        tx: &mut Tx,
        id: Uuid,
        change: &ActivityChange,
        by: &ChangedBy,
    ) -> Result<(Changed, Option<ChangeKind>), ActivityError> {
        let row: Option<ActivityRow> = sqlx::query_as(
            r#"
            select id, user_id, type, status, title, description, data::text as data, chain_id, tx_hash, closed_by, changes,
                to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at,
                to_char(updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as updated_at
            from activities where id = $1 for update
            "#,
        )
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
        let activity = Activity::try_from(row.ok_or(ActivityError::Unknown)?)?;
        let Some(applied) =
            activity.apply(change, by, &|now, change| texts(&self.0.settings.activity_texts, now, change))?
        else {
            return Ok((Changed { activity, position: None }, None));
        };
        if applied.now.data != activity.now.data {
            self.fits(&applied.now.data)?;
        }
        let (number, at) = (activity.changes + 1, now());
        let AppliedChange { now, closed_by, kind, changed } = applied;
        let step = NotedChange { now: &now, number, kind, by, changed, at: at.clone() };
        update(tx, &step, closed_by).await?;
        let position = note(tx, step).await?;
        let activity =
            Activity { now, closed_by, changes: number, updated_at: at, created_at: activity.created_at };
        Ok((Changed { activity, position }, Some(kind)))
    }

    fn fits(&self, data: &Map<String, Value>) -> Result<(), ActivityError> {
        let bytes = serde_json::to_string(data).unwrap_or_default().len();
        if bytes > self.0.settings.limits.payload_bytes {
            Err(ActivityError::TooLarge(bytes))
        } else {
            Ok(())
        }
    }
}

async fn update(
    tx: &mut Tx,
    step: &NotedChange<'_>,
    closed_by: Option<ClosedBy>,
) -> Result<(), ActivityError> {
    let NotedChange { now, number, at, .. } = step;
    sqlx::query(
        r"
        update activities set status = $2, title = $3, description = $4, data = $5::text::jsonb, chain_id = $6, tx_hash = $7,
            closed_by = $8, changes = $9, updated_at = $10::text::timestamptz
        where id = $1
        ",
    )
    .bind(now.id)
    .bind(now.status.as_str())
    .bind(&now.title)
    .bind(&now.description)
    .bind(Value::Object(now.data.clone()).to_string())
    .bind(chain_id(now.transaction)?)
    .bind(now.transaction.map(|transaction| transaction.hash.to_vec()))
    .bind(closed_by.map(ClosedBy::as_str))
    .bind(int8("changes", *number)?)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Appends the message of a change and notes the change with its number, last in the transaction.
async fn note(tx: &mut Tx, step: NotedChange<'_>) -> Result<Option<Position>, ActivityError> {
    let NotedChange { now, number, kind, by, changed, at } = step;
    // The same change has the same id wherever it is written.
    let message_id = ids::derived(&[now.id.as_bytes(), &number.to_be_bytes()]);
    let (message_type, of) = (format!("activity.{}", kind.as_str()), now.id.to_string());
    let about = AggregateRef { aggregate_type: "activity", id: &of };
    let message = OffChainMessage {
        payload: now.payload(&at),
        metadata: OffChainMetadata {
            user_id: Some(now.user_id.clone()),
            correlation_id: Some(now.id.to_string()),
            source: by.name().to_owned(),
            ..OffChainMetadata::default()
        },
        ..OffChainMessage::new(message_id, &message_type, about, at.clone())
    };
    let position = append_off_chain(tx, off_chain_drafts(vec![message])?).await?;
    let seq = position.as_ref().map_or(0, |position| position.seq);
    sqlx::query(
        r"
        insert into activity_changes (activity_id, number, message_id, kind, made_by, changed, made_at, seq)
        values ($1, $2, $3, $4, $5, $6::text::jsonb, $7::text::timestamptz, $8)
        ",
    )
    .bind(now.id)
    .bind(int8("changes", number)?)
    .bind(message_id)
    .bind(kind.as_str())
    .bind(by.name())
    .bind(Value::Object(changed).to_string())
    .bind(&at)
    .bind(int8("sequence", seq)?)
    .execute(&mut **tx)
    .await?;
    Ok(position)
}

fn chain_id(transaction: Option<ActivityTransaction>) -> Result<Option<i64>, StoreError> {
    transaction.map(|transaction| int8("chain id", transaction.chain_id)).transpose()
}

/// Milliseconds, as the messages have it.
fn now() -> String {
    rfc3339_millis(SystemTime::now())
}
