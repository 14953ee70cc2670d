//! People by the application's own ids. The chain's record of a wallet (`users`) and the person are joined by the wallet.

mod ids;
mod links;
mod merge;
mod revoked;
mod rights;

use serde_json::{Value, json};

use crate::Publisher;
use chainflume_core::domain::Address;
use chainflume_db::StoreError;
use chainflume_db::people::person_of;
use chainflume_db::transaction::{PEOPLE, Tx, begin_bounded, lock, lock_shared};
use chainflume_outbox::Position;
use links::LinkedPerson;
pub use rights::{may_read_record, may_read_user, may_write_record};

/// A device of a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserDevice {
    /// `fcm`, `apns`, `webpush` …
    pub kind: String,
    /// What the provider knows it by.
    pub token: String,
}

/// What changes of a person: `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChanges {
    /// Address of e-mail.
    pub email: Option<Option<String>>,
    /// E.164
    pub phone: Option<Option<String>>,
    /// BCP 47
    pub locale: Option<Option<String>>,
    /// IANA
    pub zone: Option<Option<String>>,
    /// All wallets from now on.
    pub wallets: Option<Vec<Address>>,
    /// All devices from now on.
    pub devices: Option<Vec<UserDevice>>,
}

/// Wallets, devices and other ids of one person at most: a screen shows them all, and a message has them.
pub(crate) const MAX_OF_PERSON: usize = 100;

/// A person that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenUser {
    /// The person's own id: another one than the request names where the two are one person.
    pub id: String,
    /// Whether there was none before.
    pub is_new: bool,
    /// The position of the message about the ids; `None` where none joined or left.
    pub position: Option<Position>,
}

/// Why a person was not written.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The people who have the wallets would together have more than one person may have.
    #[error("the person would have more than {MAX_OF_PERSON} wallets, devices or ids")]
    TooLarge,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for UserError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The record as it was read: contacts, times, then lists as JSON.
type PersonRow =
    (Option<String>, Option<String>, Option<String>, Option<String>, String, String, String, String, String);

impl Publisher {
    /// Writes a person, and creates the person where there is none.
    ///
    /// A wallet belongs to one person. If another person has one of the wallets, both are merged: the older person stays and gets what the
    /// younger one has, and the younger one's id becomes another id of the person. A change of the ids is published.
    ///
    /// # Errors
    /// [`UserError`]
    pub async fn put_user(
        &self,
        id: &str,
        changes: &UserChanges,
        source: &str,
    ) -> Result<WrittenUser, UserError> {
        let mut tx = begin_bounded(&self.0.pool).await?;
        // Links are changed by one caller at a time: two callers that claim each other's wallets would otherwise deadlock. Nothing may be
        // written under an id that is being merged away.
        match changes.wallets {
            Some(_) => lock(&mut tx, PEOPLE).await?,
            None => lock_shared(&mut tx, PEOPLE).await?,
        }
        let id = person_of(&mut tx, id).await?.unwrap_or_else(|| id.to_owned());
        // The time after the lock: the person of the first caller is the older one.
        let inserted = sqlx::query(
            r"
            insert into application_users (id, created_at, updated_at) values ($1, clock_timestamp(), clock_timestamp())
            on conflict on constraint application_users_pkey do nothing
            ",
        )
        .bind(&id)
        .execute(&mut *tx)
        .await?;
        let linked = match &changes.wallets {
            Some(wallets) => Some(links::link(&mut tx, &id, wallets).await?),
            None => None,
        };
        let own = linked.as_ref().map_or(&id, |linked| &linked.own).clone();
        contacts(&mut tx, &own, changes).await?;
        if let Some(devices) = &changes.devices {
            replace_devices(&mut tx, &own, devices).await?;
        }
        let position = match &linked {
            Some(linked) => links::publish(&mut tx, linked, source).await?,
            None => None,
        };
        tx.commit().await?;
        Ok(WrittenUser { is_new: inserted.rows_affected() == 1 && own == id, id: own, position })
    }

    /// A person as JSON, with the wallets as the chain has them.
    ///
    /// # Errors
    /// A database error.
    pub async fn user(&self, id: &str) -> Result<Option<Value>, StoreError> {
        let row: Option<PersonRow> = sqlx::query_as(
            r#"
            select a.email, a.phone, a.locale, a.zone,
                to_char(a.created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                to_char(a.updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                coalesce((select jsonb_agg(jsonb_build_object('address', '0x' || encode(w.wallet, 'hex'),
                        'userId', coalesce(u.id, user_id(w.wallet)), 'stakeAmount', coalesce(u.stake_amount, 0)::text,
                        'status', coalesce(u.status, 'registered')) order by w.linked_at, w.wallet)
                    from user_wallets w left join users u on u.wallet = w.wallet where w.user_id = a.id), '[]')::text,
                coalesce((select jsonb_agg(jsonb_build_object('kind', d.kind, 'token', d.token) order by d.kind, d.token)
                    from user_devices d where d.user_id = a.id), '[]')::text,
                coalesce((select jsonb_agg(o.alias order by o.merged_at, o.alias)
                    from user_aliases o where o.user_id = a.id), '[]')::text
            from application_users a where a.id = $1
            "#,
        )
        .bind(id)
        .fetch_optional(&self.0.pool)
        .await?;
        Ok(row.map(|(email, phone, locale, zone, created, updated, wallets, devices, aliases)| {
            let list = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
            json!({
                "id": id, "email": email, "phone": phone, "locale": locale, "zone": zone, "wallets": list(&wallets),
                "devices": list(&devices), "aliases": list(&aliases), "createdAt": created, "updatedAt": updated,
            })
        }))
    }

    /// Erases a person, by any id of the application for the person: contacts, devices, links and other ids. Facts of the chain and
    /// published events stay. Publishes that the ids have left, and returns the position of that message; `None` where there was no
    /// such person.
    ///
    /// # Errors
    /// A database error.
    pub async fn erase_user(&self, id: &str, source: &str) -> Result<Option<Position>, StoreError> {
        let mut tx = begin_bounded(&self.0.pool).await?;
        lock(&mut tx, PEOPLE).await?;
        let Some(own) = person_of(&mut tx, id).await? else { return Ok(None) };
        let person = LinkedPerson::of(&mut tx, own).await?;
        sqlx::query("delete from application_users where id = $1")
            .bind(&person.own)
            .execute(&mut *tx)
            .await?;
        let position = links::publish(&mut tx, &person, source).await?;
        tx.commit().await?;
        Ok(position)
    }
}

async fn contacts(tx: &mut Tx, id: &str, changes: &UserChanges) -> Result<(), UserError> {
    let UserChanges { email, phone, locale, zone, .. } = changes;
    sqlx::query(
        r"
        update application_users set updated_at = clock_timestamp(),
            email = case when $2 then $3 else email end, phone = case when $4 then $5 else phone end,
            locale = case when $6 then $7 else locale end, zone = case when $8 then $9 else zone end
        where id = $1
        ",
    )
    .bind(id)
    .bind(email.is_some())
    .bind(email.as_ref().and_then(Option::as_deref))
    .bind(phone.is_some())
    .bind(phone.as_ref().and_then(Option::as_deref))
    .bind(locale.is_some())
    .bind(locale.as_ref().and_then(Option::as_deref))
    .bind(zone.is_some())
    .bind(zone.as_ref().and_then(Option::as_deref))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn replace_devices(tx: &mut Tx, id: &str, devices: &[UserDevice]) -> Result<(), UserError> {
    let kinds: Vec<&str> = devices.iter().map(|device| device.kind.as_str()).collect();
    let tokens: Vec<&str> = devices.iter().map(|device| device.token.as_str()).collect();
    sqlx::query(
        r"
        delete from user_devices where user_id = $1
            and (kind, token) not in (select kind, token from unnest($2::text[], $3::text[]) as d (kind, token))
        ",
    )
    .bind(id)
    .bind(&kinds)
    .bind(&tokens)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        r"
        insert into user_devices (user_id, kind, token)
        select distinct $1, kind, token from unnest($2::text[], $3::text[]) as d (kind, token)
        on conflict on constraint user_devices_pkey do nothing
        ",
    )
    .bind(id)
    .bind(&kinds)
    .bind(&tokens)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
