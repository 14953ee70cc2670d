//! Facts that are published again: events, and the changes of activities.

mod check;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value};
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, FromRow, Postgres};
use uuid::Uuid;

use crate::retention::UNDECIDED;
use chainflume_core::domain::{AggregateRef, OffChainMessage, OffChainMetadata, TypePattern, rfc3339_millis};
use chainflume_db::convert::{count, int8};
use chainflume_db::{Database, StoreError, transaction};
use chainflume_outbox::{Draft, ReplaySource, off_chain_drafts};
pub use check::FactQueryError;

/// Which facts are to be published again. Empty lists and `None` select all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactQuery {
    /// Types of messages.
    pub types: Vec<TypePattern>,
    /// What they are about: a kind of things, or with its id one thing.
    pub aggregate: Option<(String, Option<String>)>,
    /// From this time on.
    pub since: Option<SystemTime>,
    /// Before this time.
    pub until: Option<SystemTime>,
    /// Ids of messages.
    pub ids: Vec<Uuid>,
    /// What was published already: nothing up to the fact with this number is published again.
    pub after: Option<i64>,
}

/// The facts that a query selects, in the order of the numbers that their messages had first.
#[derive(Debug)]
pub struct FactReplay {
    pool: PgPool,
    query: FactQuery,
    folded: Mutex<FoldedActivities>,
}

/// The activities of a page as its last changes left them, so that the next page reads no change again. Without them an activity with
/// n changes would be folded n times from its beginning.
#[derive(Debug, Default)]
struct FoldedActivities {
    /// The place of the page.
    upto: Option<i64>,
    /// By id: the number of the last change, and the fields.
    states: BTreeMap<String, (i64, Map<String, Value>)>,
}

/// Bytes of payloads read at once, so that a few enormous ones cannot fill the memory.
const PAGE_BYTES: usize = 8 << 20;

/// Whether this column has one of the types `$2`. The beginning of types ends with a point.
fn is_of_types(column: &str) -> String {
    format!(
        "($2::text[] = '{{}}' or exists (select from unnest($2::text[]) t (name) \
         where {column} = t.name or (right(t.name, 1) = '.' and starts_with({column}, t.name))))"
    )
}

/// The events of a query, `$1` to `$7`. What a reorg took away is left out. So is what a reorg may still take
/// away: on streams of a replay's own it would not be retracted.
fn events() -> String {
    format!(
        "domain_events e where e.seq > $1 and {} \
         and ($3::text is null or e.aggregate_type = $3) and ($4::text is null or e.aggregate_id = $4) \
         and ($5::text is null or e.happened_at >= $5::timestamptz) and ($6::text is null or e.happened_at < $6::timestamptz) \
         and ($7::uuid[] = '{{}}' or e.id = any($7)) and e.withdrawn_at is null and not {UNDECIDED}",
        is_of_types("e.type")
    )
}

/// The changes of activities of a query.
fn changes() -> String {
    format!(
        "activity_changes c join activities a on a.id = c.activity_id where c.seq > $1 and {} \
         and ($3::text is null or $3 = 'activity') and ($4::text is null or c.activity_id::text = $4) \
         and ($5::text is null or c.made_at >= $5::timestamptz) and ($6::text is null or c.made_at < $6::timestamptz) \
         and ($7::uuid[] = '{{}}' or c.message_id = any($7))",
        is_of_types("'activity.' || c.kind")
    )
}

#[derive(FromRow)]
struct FactRow {
    seq: i64,
    id: Uuid,
    #[sqlx(rename = "type")]
    message_type: String,
    aggregate_type: String,
    aggregate_id: String,
    payload: String,
    user_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    source: String,
    timestamp: String,
    number: Option<i64>,
}

impl FactReplay {
    /// Reads nothing yet.
    pub fn new(database: &Database, query: FactQuery) -> Self {
        Self { pool: database.pool().clone(), query, folded: Mutex::default() }
    }

    /// How many messages of each type a replay publishes.
    ///
    /// # Errors
    /// A database error.
    pub async fn size(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = format!(
            "select type, count(*) from (select e.type from {} union all select 'activity.' || c.kind from {}) as f (type) \
             group by type",
            events(),
            changes()
        );
        let rows: Vec<(String, i64)> = self.bound(sql, None).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(name, facts)| (name, count(facts))).collect())
    }

    /// The activities as the page that ended at this place left them; none of a place that no page ended at.
    fn folded_upto(&self, place: Option<i64>) -> FoldedActivities {
        let mut kept = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.upto == place { std::mem::take(&mut kept) } else { FoldedActivities::default() }
    }

    /// A statement with [`events`] and [`changes`] in it, whose parameters are bound.
    fn bound<O>(&self, sql: String, after: Option<i64>) -> QueryAs<'_, Postgres, O, PgArguments>
    where
        O: for<'r> FromRow<'r, sqlx::postgres::PgRow>,
    {
        let (kind, of) = self.query.aggregate.clone().unzip();
        sqlx::query_as(AssertSqlSafe(sql))
            .bind(after.or(self.query.after).unwrap_or(i64::MIN))
            .bind(self.query.types.iter().map(TypePattern::begin).collect::<Vec<_>>())
            .bind(kind)
            .bind(of.flatten())
            .bind(self.query.since.map(rfc3339_millis))
            .bind(self.query.until.map(rfc3339_millis))
            .bind(&self.query.ids)
    }
}

impl ReplaySource for FactReplay {
    type Mark = i64;

    fn chain_id(&self) -> Option<i64> {
        None
    }

    async fn page(&self, after: Option<i64>, limit: u32) -> Result<Option<(Vec<Draft>, i64)>, StoreError> {
        // A change has the fields that differ. What a message shows is made of all changes up to it: here of those since the change
        // before it in this page or the last one.
        let sql = format!(
            r#"
            with facts as (
                (select e.seq, e.id, e.type, e.aggregate_type, e.aggregate_id, e.payload, e.user_id, e.correlation_id,
                    e.causation_id, e.source, e.happened_at, null::bigint as number
                from {} order by e.seq limit $8)
                union all
                (select c.seq, c.message_id, 'activity.' || c.kind, 'activity', c.activity_id::text, null, a.user_id,
                    c.activity_id::text, null, c.made_by, c.made_at, c.number
                from {} order by c.seq limit $8)
            ), next as (
                select f.*, lag(f.number) over (partition by f.aggregate_type, f.aggregate_id order by f.seq) as last
                from (select * from facts order by seq limit $8) f
            ), whole as (
                select n.*, case when n.number is null then n.payload else (
                    select jsonb_object_agg(f.key, f.value) from (
                        select distinct on (field.key) field.key, field.value
                        from activity_changes p cross join lateral jsonb_each(p.changed) as field
                        where p.activity_id = n.aggregate_id::uuid and p.number > coalesce(n.last, k.number, 0)
                            and p.number <= n.number
                        order by field.key, p.number desc) f)
                    end::text as fields
                from next n left join unnest($10::text[], $11::bigint[]) as k (id, number) on k.id = n.aggregate_id
            ), sized as (
                select w.*, sum(octet_length(w.fields)) over (order by w.seq) - octet_length(w.fields) as before from whole w
            )
            select seq, id, type, aggregate_type, aggregate_id, fields as payload, user_id, correlation_id, causation_id, source,
                to_char(happened_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as timestamp, number
            from sized where before < $9 order by seq
            "#,
            events(),
            changes()
        );
        let folded = self.folded_upto(after);
        let (known, numbers): (Vec<&str>, Vec<i64>) =
            folded.states.iter().map(|(id, (number, _))| (id.as_str(), *number)).unzip();
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let query =
            self.bound::<FactRow>(sql, after).bind(i64::from(limit)).bind(int8("bytes", PAGE_BYTES as u64)?);
        let rows = query.bind(known).bind(numbers).fetch_all(&mut *tx).await?;
        let (messages, folded) = folded.messages(rows)?;
        let Some(last) = folded.upto else { return Ok(None) };
        *self.folded.lock().unwrap_or_else(PoisonError::into_inner) = folded;
        Ok(Some((off_chain_drafts(messages)?, last)))
    }
}

impl FoldedActivities {
    /// The messages of a page, within its bytes, and the activities after it.
    fn messages(mut self, rows: Vec<FactRow>) -> Result<(Vec<OffChainMessage>, Self), StoreError> {
        let (mut messages, mut after, mut bytes) = (Vec::new(), Self::default(), 0);
        for row in rows {
            if bytes >= PAGE_BYTES {
                break;
            }
            let corrupt =
                || StoreError::Corrupt { table: "domain_events", what: "a payload is no object".to_owned() };
            let mut payload: Map<String, Value> =
                serde_json::from_str(&row.payload).map_err(|_| corrupt())?;
            let mut size = row.payload.len();
            if let Some(number) = row.number {
                let id = &row.aggregate_id;
                let before = after.states.remove(id).or_else(|| self.states.remove(id));
                let mut fields = before.map(|(_, fields)| fields).unwrap_or_default();
                fields.append(&mut payload);
                after.states.insert(id.clone(), (number, fields.clone()));
                payload = shown(fields, &row.timestamp);
                size = serde_json::to_string(&payload).map_or(size, |text| text.len());
            }
            bytes += size;
            after.upto = Some(row.seq);
            messages.push(message(row, payload));
        }
        Ok((messages, after))
    }
}

fn message(row: FactRow, payload: Map<String, Value>) -> OffChainMessage {
    let about = AggregateRef { aggregate_type: &row.aggregate_type, id: &row.aggregate_id };
    OffChainMessage {
        payload,
        metadata: OffChainMetadata {
            user_id: row.user_id,
            correlation_id: row.correlation_id,
            causation_id: row.causation_id,
            source: row.source,
            ..OffChainMetadata::default()
        },
        replay: true,
        ..OffChainMessage::new(row.id, &row.message_type, about, row.timestamp.clone())
    }
}

/// The payload of a change as its message had it.
fn shown(mut payload: Map<String, Value>, at: &str) -> Map<String, Value> {
    payload.insert("timestamp".to_owned(), at.into());
    payload.retain(|name, value| name != "data" || value.as_object().is_none_or(|data| !data.is_empty()));
    payload
}
