use super::Grants;
use chainflume_api::access::Ticket;
use chainflume_db::{StoreError, transaction};

/// How long a ticket opens a stream: from an answer to the next request of the same page.
pub const TICKET_SECONDS: u32 = 60;
/// Maximum number of unused tickets of one caller: a page needs one for each stream.
const MAX_TICKETS: i64 = 32;

/// Whether a ticket is spent when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketUse {
    /// The ticket is spent.
    Spend,
    /// The ticket stays valid.
    Look,
}

/// A ticket that is given out.
pub struct Issue<'a> {
    /// The ticket.
    pub ticket: &'a Ticket,
    /// Name of the caller that requested it.
    pub owner: &'a str,
    /// The content of the stream that it opens, JSON.
    pub content: &'a str,
}

impl Grants {
    /// Stores a ticket; `false` if the caller has too many unused ones.
    ///
    /// # Errors
    /// A database error.
    pub async fn issue(&self, issue: &Issue<'_>) -> Result<bool, StoreError> {
        let mut tx = transaction::begin_brief(&self.pool).await?;
        // One request after the other: requests at the same time would not see each other's tickets.
        let sql = "select pg_advisory_xact_lock(hashtextextended('tickets of ' || $1, 0))";
        sqlx::query(sql).bind(issue.owner).execute(&mut *tx).await?;
        let sql = "insert into tickets (hash, owner, content, expires_at) \
             select $1, $2, $3, now() + $4 * interval '1 second' \
             where (select count(*) from tickets where owner = $2 and expires_at > now()) < $5";
        let issued = sqlx::query(sql)
            .bind(issue.ticket.hash())
            .bind(issue.owner)
            .bind(issue.content)
            .bind(i64::from(TICKET_SECONDS))
            .bind(MAX_TICKETS)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(issued.rows_affected() == 1)
    }

    /// Returns what a ticket opens; `None` for one that is unknown, spent or expired. Of several servers that spend the same ticket
    /// one gets it.
    ///
    /// # Errors
    /// A database error.
    pub async fn redeem(&self, ticket: &Ticket, how: TicketUse) -> Result<Option<String>, StoreError> {
        let mut tx = transaction::begin_brief(&self.pool).await?;
        let sql = match how {
            TicketUse::Spend => {
                "delete from tickets where hash = $1 and expires_at > now() returning content"
            }
            TicketUse::Look => "select content from tickets where hash = $1 and expires_at > now()",
        };
        let content = sqlx::query_scalar(sql).bind(ticket.hash()).fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        Ok(content)
    }
}
