//! Applies revocations of one id to all ids of a person.

use chainflume_db::StoreError;
use chainflume_db::transaction::{REVOCATIONS, Tx, lock};

/// Revokes of every id of a person what is revoked of one. The token of each id reads what is of the person, so a token that is older
/// than the newest revocation of any of them must not. The caller holds the lock of links, without which no user is revoked.
pub(super) async fn share(tx: &mut Tx, ids: &[String]) -> Result<(), StoreError> {
    let revoked = "select exists (select from revocations where kind = 'sub' and name = any($1))";
    if !sqlx::query_scalar::<_, bool>(revoked).bind(ids).fetch_one(&mut **tx).await? {
        return Ok(());
    }
    lock(tx, REVOCATIONS).await?;
    sqlx::query(
        r"
        insert into revocations (kind, name, revoked_at, number)
        select 'sub', i.id, n.at, nextval('revocation_numbers')
        from unnest($1::text[]) as i (id),
            (select max(revoked_at) as at from revocations where kind = 'sub' and name = any($1)) as n
        on conflict on constraint revocations_pkey do update
        set revoked_at = excluded.revoked_at, number = excluded.number where revocations.revoked_at < excluded.revoked_at
        ",
    )
    .bind(ids)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
