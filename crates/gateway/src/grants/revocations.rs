use super::Grants;
use chainflume_api::access::Revocation;
use chainflume_db::convert::unsigned;
use chainflume_db::people::{ids_of_person, person_of};
use chainflume_db::transaction::Tx;
use chainflume_db::{StoreError, transaction};

/// A revocation as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevocation {
    /// The user, token or key.
    pub what: Revocation,
    /// The time of the revocation, in seconds since 1970 by the clock of the database.
    pub at: u64,
    /// A number that grows with each change.
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
    /// Revokes from now on; the moment in seconds since 1970, and all that is revoked: of a user, every id of the person, since the
    /// token of each reads what is of the person. What was revoked before is revoked up to now.
    ///
    /// # Errors
    /// A database error.
    pub async fn revoke(&self, what: &Revocation) -> Result<(u64, Vec<Revocation>), StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let names = match what {
            Revocation::Subject(id) => ids(&mut tx, id).await?,
            Revocation::Token(name) | Revocation::Key(name) => vec![name.clone()],
        };
        transaction::lock(&mut tx, transaction::REVOCATIONS).await?;
        let sql = "with new as (insert into revocations (kind, name, revoked_at, number) \
             select $1, n.name, clock_timestamp(), nextval('revocation_numbers') from unnest($2::text[]) as n (name) \
             on conflict (kind, name) do update set revoked_at = excluded.revoked_at, number = excluded.number \
             returning revoked_at) select floor(extract(epoch from max(revoked_at)))::bigint from new";
        let at: i64 = sqlx::query_scalar(sql).bind(what.kind()).bind(&names).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        let all = names.into_iter().filter_map(|name| Revocation::of(what.kind(), name)).collect();
        Ok((unsigned("revocations", at)?, all))
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

/// All ids of the person who has this one; it alone where there is no such person. No wallet is linked meanwhile: the transaction that
/// joins ids looks for what was revoked of each.
async fn ids(tx: &mut Tx, id: &str) -> Result<Vec<String>, StoreError> {
    transaction::lock_shared(tx, transaction::PEOPLE).await?;
    let mut ids = match person_of(tx, id).await? {
        Some(own) => ids_of_person(tx, &own).await?,
        None => Vec::new(),
    };
    if !ids.iter().any(|known| known == id) {
        ids.push(id.to_owned());
    }
    Ok(ids)
}
