//! The ids of a person, for every crate that must know whether two ids are of one person.

use uuid::Uuid;

use crate::StoreError;
use crate::transaction::Tx;
use chainflume_core::domain::Address;

/// The person's own id, found by any id of the person; `None` if no person has the id.
///
/// # Errors
/// A database error.
pub async fn person_of(tx: &mut Tx, id: &str) -> Result<Option<String>, StoreError> {
    let wallet = id.parse::<Address>().ok().filter(|_| id.starts_with("0x"));
    let own = sqlx::query_scalar(
        r"
        select a.id from application_users a where a.id = $1
        union all
        select o.user_id from user_aliases o where o.alias = $1
        union all
        select w.user_id from user_wallets w where w.wallet = $2
        union all
        select w.user_id from users u join user_wallets w on w.wallet = u.wallet where u.id = $3
        union all
        select w.user_id from user_wallets w where user_id(w.wallet) = $3
        limit 1
        ",
    )
    .bind(id)
    .bind(wallet.map(|wallet| wallet.to_vec()))
    .bind(Uuid::try_parse(id).ok());
    Ok(own.fetch_optional(&mut **tx).await?)
}

/// All ids of a person, found by the person's own id, which comes first. The others are ids of the application that were merged into
/// it, the wallets, and the ids of the wallets' rows in `users`. Empty if no person has the id.
///
/// # Errors
/// A database error.
pub async fn ids_of_person(tx: &mut Tx, own: &str) -> Result<Vec<String>, StoreError> {
    let ids = sqlx::query_scalar(
        r"
        select i.id from application_users a
        cross join lateral (
            select 1 as kind, a.created_at as since, a.id as id
            union all
            select 2, o.merged_at, o.alias from user_aliases o where o.user_id = a.id
            union all
            select 3, w.linked_at, '0x' || encode(w.wallet, 'hex') from user_wallets w where w.user_id = a.id
            union all
            select 4, w.linked_at, coalesce(u.id, user_id(w.wallet))::text
            from user_wallets w left join users u on u.wallet = w.wallet where w.user_id = a.id
        ) i
        where a.id = $1
        group by i.id order by min(i.kind), min(i.since), i.id
        ",
    )
    .bind(own);
    Ok(ids.fetch_all(&mut **tx).await?)
}
