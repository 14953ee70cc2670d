use super::Grants;
use chainflume_access::Revocation;
use chainflume_db::convert::unsigned;
use chainflume_db::{StoreError, transaction};

/// Key of the advisory lock under which revocations are numbered, so that they are numbered in the order of their commits.
const NUMBERING: i64 = 0x6368_6169_6e66_0005;

/// A revocation as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevocation {
    /// What.
    pub what: Revocation,
    /// When, in seconds since 1970 by the clock of the database.
    pub at: u64,
    /// Grows with each change.
    pub number: i64,
}

#[derive(sqlx::FromRow)]
struct RevocationRow {
    kind: String,
    name: String,
    at: i64,
    number: i64,
}

impl Grants {
    /// Revokes from now on; the moment in seconds since 1970. What was revoked before is revoked up to now.
    ///
    /// # Errors
    /// A database error.
    pub async fn revoke(&self, what: &Revocation) -> Result<u64, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        transaction::lock(&mut tx, NUMBERING).await?;
        let sql = "insert into revocations (kind, name, revoked_at, number) \
             values ($1, $2, clock_timestamp(), nextval('revocation_numbers')) \
             on conflict (kind, name) do update set revoked_at = excluded.revoked_at, number = excluded.number \
             returning floor(extract(epoch from revoked_at))::bigint";
        let at: i64 = sqlx::query_scalar(sql).bind(what.kind()).bind(what.name()).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        unsigned("revocations", at)
    }

    /// The revocations with a number above `number`, in the order of their numbers.
    ///
    /// # Errors
    /// A database error.
    pub async fn revocations(&self, number: i64) -> Result<Vec<StoredRevocation>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let sql = "select kind, name, floor(extract(epoch from revoked_at))::bigint as at, number \
             from revocations where number > $1 order by number";
        let rows: Vec<RevocationRow> = sqlx::query_as(sql).bind(number).fetch_all(&mut *tx).await?;
        let read = |RevocationRow { kind, name, at, number }| {
            let what = Revocation::of(&kind, name)?;
            Some(StoredRevocation { what, at: u64::try_from(at).unwrap_or(0), number })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}
