//! Messages of a transaction that has more of them than fit in memory, stored before they have numbers.
//!
//! A writer that takes numbers makes every other writer with messages wait. So the messages go into a temporary table first, without
//! their numbers, and one statement copies them once the numbers are known.

use crate::append::{append, reserve};
use crate::draft::Draft;
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::copy::{Rows, copy_in};
use chainflume_db::transaction::Tx;

/// The messages, in their order. They are lost unless [`Self::append`] ends the transaction.
pub struct Unnumbered {
    chain_id: i64,
    /// The newest messages, not written yet.
    drafts: Vec<Draft>,
    /// Their size.
    bytes: usize,
    /// Maximum size of messages in memory.
    most: usize,
    /// Number of messages in the temporary table.
    written: i64,
}

impl Unnumbered {
    /// Creates an empty list. Messages of up to `most` bytes stay in memory.
    pub fn new(chain_id: i64, most: usize) -> Self {
        Self { chain_id, drafts: Vec::new(), bytes: 0, most, written: 0 }
    }

    /// Adds messages behind the others.
    ///
    /// # Errors
    /// A database error.
    pub async fn push(&mut self, tx: &mut Tx, drafts: Vec<Draft>) -> Result<(), StoreError> {
        self.bytes += drafts.iter().map(Draft::bytes).sum::<usize>();
        self.drafts.extend(drafts);
        if self.bytes <= self.most {
            return Ok(());
        }
        self.bytes = 0;
        if self.written == 0 && !may_write_down(tx).await? {
            return append(tx, self.chain_id, std::mem::take(&mut self.drafts), None).await;
        }
        self.write_down(tx).await
    }

    /// Numbers the messages and stores them. Must come last in the transaction, as [`append`].
    ///
    /// # Errors
    /// A database error.
    pub async fn append(mut self, tx: &mut Tx) -> Result<(), StoreError> {
        if self.written == 0 {
            return append(tx, self.chain_id, self.drafts, None).await;
        }
        self.write_down(tx).await?;
        let before = reserve(tx, self.written).await?.last - self.written;
        // Not prepared: the table is new in each transaction, so an earlier plan does not fit.
        sqlx::query(
            r"
            insert into outbox (seq, chain_id, aggregate_type, type, state, user_id, message, account,
                counterparty_user_id, room_keys)
            select $1 + place, $2, aggregate_type, type, state, user_id, head || ($1 + place) || tail, account,
                counterparty_user_id, room_keys
            from pg_temp.outbox_drafts order by place
            ",
        )
        .persistent(false)
        .bind(before)
        .bind(self.chain_id)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Moves the messages from memory to the temporary table.
    async fn write_down(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        if self.written == 0 {
            sqlx::raw_sql(TABLE).execute(&mut **tx).await?;
        }
        let drafts = std::mem::take(&mut self.drafts);
        let count = int8("messages", drafts.len() as u64)?;
        let placed: Vec<(i64, Draft)> = (self.written + 1..).zip(drafts).collect();
        let statement = r"
            copy pg_temp.outbox_drafts (place, aggregate_type, type, state, user_id, head, tail, account,
                counterparty_user_id, room_keys)
            from stdin (format binary)
        ";
        copy_in(tx, statement, &placed, |rows, (place, draft)| encode(rows, *place, draft)).await?;
        self.written += count;
        Ok(())
    }
}

/// The temporary table: as `outbox`, with the text before and after the number, and with a place in the order in place of the number.
const TABLE: &str = r"
    create temporary table outbox_drafts (
        place bigint, aggregate_type text, type text, state text, user_id uuid, head text, tail text, account bytea,
        counterparty_user_id uuid, room_keys bigint[]
    ) on commit drop;
";

/// Whether the role may make temporary tables. Every role may unless an administrator has taken that right from all.
async fn may_write_down(tx: &mut Tx) -> Result<bool, StoreError> {
    let sql = "select has_database_privilege(current_database(), 'temporary')";
    Ok(sqlx::query_scalar(sql).fetch_one(&mut **tx).await?)
}

fn encode(rows: &mut Rows, place: i64, draft: &Draft) -> Result<(), StoreError> {
    let (head, tail) = draft.around_the_number();
    rows.row(10);
    rows.int8(place)?;
    rows.text(&draft.aggregate_type)?;
    rows.text(&draft.message_type)?;
    rows.text(draft.state.as_str())?;
    rows.uuid_or_null(draft.user_id)?;
    rows.text(head)?;
    rows.text(tail)?;
    rows.bytea_or_null(draft.account.as_deref())?;
    rows.uuid_or_null(draft.counterparty_user_id)?;
    rows.int8_array(&draft.keys)
}
