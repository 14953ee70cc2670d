use jiff::Timestamp;
use sqlx::postgres::PgPool;

use super::{RunPlan, ScheduledEvent};
use crate::{OwnFact, record};
use chainflume_db::{Database, StoreError, transaction};

/// Keeps how far schedules have run.
pub trait ScheduleStore: Send + Sync {
    /// How far each has run. One that is new, or has other times than before, begins at `now`.
    fn begin(
        &self,
        schedules: &[ScheduledEvent],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Timestamp>, StoreError>> + Send;

    /// Publishes what is due, if the schedule has run up to `since` and no further. Returns whether it was so.
    fn run(
        &self,
        schedule: &ScheduledEvent,
        since: Timestamp,
        plan: &RunPlan,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Schedules in the database.
#[derive(Clone, Debug)]
pub struct StoredSchedules {
    pool: PgPool,
}

impl StoredSchedules {
    /// The schedules of this database.
    pub fn of(database: &Database) -> Self {
        Self { pool: database.pool().clone() }
    }
}

impl ScheduleStore for StoredSchedules {
    async fn begin(
        &self,
        schedules: &[ScheduledEvent],
        now: Timestamp,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let mut begun = Vec::with_capacity(schedules.len());
        for schedule in schedules {
            let due: i64 = sqlx::query_scalar(
                r"
                insert into schedules as s (name, pattern, due_at) values ($1, $2, to_timestamp($3::bigint))
                on conflict on constraint schedules_pkey do update set pattern = excluded.pattern,
                    due_at = case when s.pattern = excluded.pattern then s.due_at else excluded.due_at end
                returning extract(epoch from due_at)::bigint
                ",
            )
            .bind(&schedule.name)
            .bind(schedule.times.pattern())
            .bind(now.as_second())
            .fetch_one(&mut *tx)
            .await?;
            begun.push(moment(due)?);
        }
        tx.commit().await?;
        Ok(begun)
    }

    async fn run(
        &self,
        schedule: &ScheduledEvent,
        since: Timestamp,
        plan: &RunPlan,
    ) -> Result<bool, StoreError> {
        let Some(upto) = plan.upto else { return Ok(true) };
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let moved = sqlx::query(
            r"
            update schedules set due_at = to_timestamp($4::bigint), ran_at = now()
            where name = $1 and pattern = $2 and due_at = to_timestamp($3::bigint)
            ",
        )
        .bind(&schedule.name)
        .bind(schedule.times.pattern())
        .bind(since.as_second())
        .bind(upto.as_second())
        .execute(&mut *tx)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        let facts: Vec<OwnFact> =
            plan.runs.iter().map(|run| OwnFact::Published(Box::new(schedule.event(run)))).collect();
        record(&mut tx, &facts).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn moment(second: i64) -> Result<Timestamp, StoreError> {
    let wrong = |error: jiff::Error| StoreError::Corrupt { table: "schedules", what: error.to_string() };
    Timestamp::from_second(second).map_err(wrong)
}
