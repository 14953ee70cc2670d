//! People by the application's own ids. The chain's record of a wallet (`users`) and the person are joined by the wallet.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::Publisher;
use chainflume_core::domain::Address;
use chainflume_db::transaction::{Tx, begin_bounded};
use chainflume_db::{StoreError, transaction};

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

/// Why a person was not written.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Another person has the wallet.
    #[error("the wallet {0:#x} is linked to another user")]
    WalletTaken(Address),
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
    (Option<String>, Option<String>, Option<String>, Option<String>, String, String, String, String);

impl Publisher {
    /// Writes a person, whom it makes where there is none; whether it did.
    ///
    /// A wallet is of one person. A person who has it keeps it: ids are never joined by a request of one of them.
    ///
    /// # Errors
    /// [`UserError`]
    pub async fn put_user(&self, id: &str, changes: &UserChanges) -> Result<bool, UserError> {
        let mut tx = begin_bounded(&self.0.pool).await?;
        let inserted = sqlx::query(
            "insert into application_users (id) values ($1) on conflict on constraint application_users_pkey do nothing",
        )
        .bind(id)
        .execute(&mut *tx)
        .await?;
        contacts(&mut tx, id, changes).await?;
        if let Some(wallets) = &changes.wallets {
            link(&mut tx, id, wallets).await?;
        }
        if let Some(devices) = &changes.devices {
            replace_devices(&mut tx, id, devices).await?;
        }
        tx.commit().await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// A person as JSON, with what the chain says of the wallets.
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
                    from user_devices d where d.user_id = a.id), '[]')::text
            from application_users a where a.id = $1
            "#,
        )
        .bind(id)
        .fetch_optional(&self.0.pool)
        .await?;
        Ok(row.map(|(email, phone, locale, zone, created, updated, wallets, devices)| {
            let list = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
            json!({
                "id": id, "email": email, "phone": phone, "locale": locale, "zone": zone, "wallets": list(&wallets),
                "devices": list(&devices), "createdAt": created, "updatedAt": updated,
            })
        }))
    }

    /// Erases a person: contacts, devices and links. Facts of the chain and published events stay. Whether there was one.
    ///
    /// # Errors
    /// A database error.
    pub async fn erase_user(&self, id: &str) -> Result<bool, StoreError> {
        let mut tx = begin_bounded(&self.0.pool).await?;
        let gone =
            sqlx::query("delete from application_users where id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(gone.rows_affected() == 1)
    }

    /// The ids by which a person is known in rooms: the application's own, those of the wallets' users, and the wallets; `None`
    /// where no person has this id.
    ///
    /// # Errors
    /// A database error.
    pub async fn ids_of(&self, id: &str) -> Result<Option<Vec<String>>, StoreError> {
        let wallet = id.parse::<Address>().ok().filter(|_| id.starts_with("0x"));
        let mut tx = transaction::begin_look(&self.0.pool).await?;
        let owner: Option<String> = sqlx::query_scalar(
            r"
            select a.id from application_users a where a.id = $1
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
        .bind(Uuid::try_parse(id).ok())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(owner) = owner else { return Ok(None) };
        let wallets: Vec<(String, Uuid)> = sqlx::query_as(
            r"
            select '0x' || encode(w.wallet, 'hex'), coalesce(u.id, user_id(w.wallet))
            from user_wallets w left join users u on u.wallet = w.wallet where w.user_id = $1
            order by w.linked_at, w.wallet
            ",
        )
        .bind(&owner)
        .fetch_all(&mut *tx)
        .await?;
        let of_wallets = wallets.into_iter().flat_map(|(wallet, user)| [wallet, user.to_string()]);
        Ok(Some(std::iter::once(owner).chain(of_wallets).collect()))
    }
}

async fn contacts(tx: &mut Tx, id: &str, changes: &UserChanges) -> Result<(), UserError> {
    let UserChanges { email, phone, locale, zone, .. } = changes;
    sqlx::query(
        r"
        update application_users set updated_at = now(),
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

async fn link(tx: &mut Tx, id: &str, wallets: &[Address]) -> Result<(), UserError> {
    let bytes: Vec<Vec<u8>> = wallets.iter().map(|wallet| wallet.to_vec()).collect();
    sqlx::query("delete from user_wallets where user_id = $1 and wallet <> all($2::bytea[])")
        .bind(id)
        .bind(&bytes)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        r"
        insert into user_wallets (wallet, user_id) select distinct wallet, $1 from unnest($2::bytea[]) as w (wallet)
        on conflict on constraint user_wallets_pkey do nothing
        ",
    )
    .bind(id)
    .bind(&bytes)
    .execute(&mut **tx)
    .await?;
    let taken: Option<Vec<u8>> = sqlx::query_scalar(
        "select wallet from user_wallets where wallet = any($2::bytea[]) and user_id <> $1 limit 1",
    )
    .bind(id)
    .bind(&bytes)
    .fetch_optional(&mut **tx)
    .await?;
    match taken.and_then(|wallet| Address::try_from(wallet.as_slice()).ok()) {
        Some(wallet) => Err(UserError::WalletTaken(wallet)),
        None => Ok(()),
    }
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
