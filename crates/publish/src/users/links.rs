//! Links wallets to people.

use std::time::SystemTime;

use serde_json::{Map, json};

use super::ids::PersonIds;
use super::merge::merge;
use super::{MAX_OF_PERSON, UserError, revoked};
use crate::ids;
use chainflume_core::domain::{
    Address, AggregateRef, OffChainMessage, OffChainMetadata, USER_UPDATED, rfc3339_millis,
};
use chainflume_db::StoreError;
use chainflume_db::people::ids_of_person;
use chainflume_db::transaction::Tx;
use chainflume_outbox::{Position, append_off_chain, off_chain_drafts};

/// A person whose wallets were written.
pub(super) struct LinkedPerson {
    /// The id that stays.
    pub own: String,
    /// The ids that this person had before.
    before: PersonIds,
}

impl LinkedPerson {
    /// As the person is before a change.
    pub(super) async fn of(tx: &mut Tx, own: String) -> Result<Self, StoreError> {
        let before = PersonIds(ids_of_person(tx, &own).await?);
        Ok(Self { own, before })
    }
}

/// Gives a person exactly these wallets. People who have one of them, or whose id is one of them or of its record, are the same person:
/// the oldest with an id of the application stays, with all wallets of the others.
pub(super) async fn link(tx: &mut Tx, id: &str, wallets: &[Address]) -> Result<LinkedPerson, UserError> {
    let bytes: Vec<Vec<u8>> = wallets.iter().map(|wallet| wallet.to_vec()).collect();
    let people: Vec<String> = sqlx::query_scalar(
        r"
        with wallets as (
            select array_agg('0x' || encode(w.wallet, 'hex')) || array_agg(coalesce(u.id, user_id(w.wallet))::text) as ids
            from unnest($2::bytea[]) as w (wallet) left join users u on u.wallet = w.wallet
        )
        select a.id from application_users a, wallets w
        where a.id = $1 or a.id = any(w.ids)
            or a.id in (select w.user_id from user_wallets w where w.wallet = any($2::bytea[]))
        order by coalesce(a.id = any(w.ids), false), a.created_at, a.id
        ",
    )
    .bind(id)
    .bind(&bytes)
    .fetch_all(&mut **tx)
    .await?;
    let person = LinkedPerson::of(tx, people.first().map_or(id, String::as_str).to_owned()).await?;
    let own = &person.own;
    sqlx::query("delete from user_wallets where user_id = $1 and wallet <> all($2::bytea[])")
        .bind(id)
        .bind(&bytes)
        .execute(&mut **tx)
        .await?;
    for other in people.iter().skip(1) {
        merge(tx, own, other).await?;
    }
    sqlx::query(
        r"
        insert into user_wallets (wallet, user_id) select distinct wallet, $1 from unnest($2::bytea[]) as w (wallet)
        on conflict on constraint user_wallets_pkey do nothing
        ",
    )
    .bind(own)
    .bind(&bytes)
    .execute(&mut **tx)
    .await?;
    if count(tx, own).await? > MAX_OF_PERSON {
        return Err(UserError::TooLarge);
    }
    Ok(person)
}

/// Wallets, other ids or devices of a person, whatever there is most of.
async fn count(tx: &mut Tx, own: &str) -> Result<usize, UserError> {
    let most: i64 = sqlx::query_scalar(
        r"
        select greatest((select count(*) from user_wallets where user_id = $1),
            (select count(*) from user_aliases where user_id = $1), (select count(*) from user_devices where user_id = $1))
        ",
    )
    .bind(own)
    .fetch_one(&mut **tx)
    .await?;
    Ok(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Publishes which ids a person has now, where they are others than before. Must come last in the transaction.
pub(super) async fn publish(
    tx: &mut Tx,
    person: &LinkedPerson,
    source: &str,
) -> Result<Option<Position>, StoreError> {
    let LinkedPerson { own, before } = person;
    let after = PersonIds(ids_of_person(tx, own).await?);
    let (joined, left) = (after.without(before), before.without(&after));
    if joined.is_empty() && left.is_empty() {
        return Ok(None);
    }
    revoked::share(tx, &after.0).await?;
    let fields = [("ids", json!(after.0)), ("joined", json!(joined)), ("left", json!(left))];
    let about = AggregateRef { aggregate_type: "user", id: own };
    let message = OffChainMessage {
        payload: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
        metadata: OffChainMetadata {
            user_id: Some(own.clone()),
            source: source.to_owned(),
            ..OffChainMetadata::default()
        },
        ..OffChainMessage::new(ids::fresh(), USER_UPDATED, about, rfc3339_millis(SystemTime::now()))
    };
    append_off_chain(tx, off_chain_drafts(vec![message])?).await
}
