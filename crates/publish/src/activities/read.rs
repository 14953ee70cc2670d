use serde_json::{Value, json};
use uuid::Uuid;

use super::change::{Activity, ActivityStatus};
use super::row::ActivityRow;
use crate::Publisher;
use chainflume_db::StoreError;

/// Which activities a page has.
pub(crate) struct ActivityFilter<'a> {
    /// Only of these users; of all where there is none.
    pub user_ids: &'a [String],
    pub activity_type: Option<&'a str>,
    pub status: Option<ActivityStatus>,
    /// Older than this one.
    pub before: Option<Uuid>,
    pub limit: i64,
}

impl Publisher {
    /// An activity.
    ///
    /// # Errors
    /// A database error.
    pub async fn activity(&self, id: Uuid) -> Result<Option<Activity>, StoreError> {
        let row: Option<ActivityRow> = sqlx::query_as(
            r#"
            select id, user_id, type, status, title, description, data::text as data, chain_id, tx_hash, closed_by, changes,
                to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at,
                to_char(updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as updated_at
            from activities where id = $1
            "#,
        )
        .bind(id)
        .fetch_optional(&self.0.pool)
        .await?;
        row.map(Activity::try_from).transpose()
    }

    /// Activities, the newest first.
    pub(crate) async fn activities(&self, filter: &ActivityFilter<'_>) -> Result<Vec<Activity>, StoreError> {
        // Two statements: one for all users would not use the index of one user. Each of a person's ids has its own look, or they would
        // be sorted whole.
        let sql = if filter.user_ids.is_empty() {
            r#"
            select id, user_id, type, status, title, description, data::text as data, chain_id, tx_hash, closed_by, changes,
                to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at,
                to_char(updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as updated_at
            from activities a
            where $1::text[] = '{}' and ($2::text is null or type = $2) and ($3::text is null or status = $3)
                and ($4::uuid is null or (a.created_at, a.id) < (select b.created_at, b.id from activities b where b.id = $4))
            order by a.created_at desc, a.id desc limit $5
            "#
        } else {
            r#"
            select id, user_id, type, status, title, description, data::text as data, chain_id, tx_hash, closed_by, changes,
                to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at,
                to_char(updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as updated_at
            from (select distinct unnest($1::text[]) as own) u cross join lateral (
                select a.* from activities a
                where a.user_id = u.own and ($2::text is null or a.type = $2) and ($3::text is null or a.status = $3)
                    and ($4::uuid is null
                        or (a.created_at, a.id) < (select b.created_at, b.id from activities b where b.id = $4))
                order by a.created_at desc, a.id desc limit $5
            ) a
            order by a.created_at desc, a.id desc limit $5
            "#
        };
        let rows: Vec<ActivityRow> = sqlx::query_as(sql)
            .bind(filter.user_ids)
            .bind(filter.activity_type)
            .bind(filter.status.map(ActivityStatus::as_str))
            .bind(filter.before)
            .bind(filter.limit)
            .fetch_all(&self.0.pool)
            .await?;
        rows.into_iter().map(Activity::try_from).collect()
    }

    /// The changes of an activity that follow the change of this number, the oldest first.
    pub(crate) async fn activity_changes(
        &self,
        id: Uuid,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Value>, StoreError> {
        let rows: Vec<(i64, Uuid, String, String, String, String)> = sqlx::query_as(
            r#"
            select number, message_id, kind, made_by, changed::text,
                to_char(made_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
            from activity_changes where activity_id = $1 and number > $2 order by number limit $3
            "#,
        )
        .bind(id)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.0.pool)
        .await?;
        let read = |(number, message, kind, by, changed, at): (i64, Uuid, String, String, String, String)| {
            let changed: Value = serde_json::from_str(&changed).unwrap_or_default();
            json!({ "number": number, "messageId": message.to_string(), "kind": kind, "by": by, "changed": changed, "timestamp": at })
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
