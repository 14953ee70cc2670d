//! By which ids a person is known.

use uuid::Uuid;

use crate::Publisher;
use chainflume_core::domain::Address;
use chainflume_db::StoreError;
use chainflume_db::transaction::{Tx, begin_look};

/// The ids of a person, the application's own first; none where there is no such person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PersonIds(pub Vec<String>);

impl PersonIds {
    /// Those that are not among `others`.
    pub fn without(&self, others: &Self) -> Vec<&str> {
        self.0.iter().filter(|id| !others.0.contains(id)).map(String::as_str).collect()
    }
}

impl Publisher {
    /// The ids by which a person is known: the application's own, other ids of the application that were merged into it, the wallets,
    /// and those of the wallets' records; `None` where no person has this id.
    ///
    /// # Errors
    /// A database error.
    pub async fn ids_of(&self, id: &str) -> Result<Option<Vec<String>>, StoreError> {
        let mut tx = begin_look(&self.0.pool).await?;
        let Some(own) = person_of(&mut tx, id).await? else { return Ok(None) };
        Ok(Some(ids_of_person(&mut tx, &own).await?.0))
    }
}

/// The person's own id, by any of the person's ids; `None` where there is no such person.
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

/// All ids of a person, by the person's own id.
pub(super) async fn ids_of_person(tx: &mut Tx, own: &str) -> Result<PersonIds, StoreError> {
    let ids: Vec<String> = sqlx::query_scalar(
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
    .bind(own)
    .fetch_all(&mut **tx)
    .await?;
    Ok(PersonIds(ids))
}
