use alloy_primitives::U256;
use sqlx::postgres::PgPool;

use super::{BalanceLimit, LimitSide, alert_key};
use chainflume_db::convert::{address, int8, unsigned};
use chainflume_db::people::person_of;
use chainflume_db::{Database, StoreError, transaction};

/// Limits that people set.
#[derive(Clone, Debug)]
pub struct UserAlerts {
    pub(super) pool: PgPool,
    chains: Vec<u64>,
}

/// One of them.
pub type AlertLimit = BalanceLimit;

impl UserAlerts {
    /// Limits in this database, about these chains (EIP-155).
    pub fn of(database: &Database, chains: Vec<u64>) -> Self {
        Self { pool: database.pool().clone(), chains }
    }

    /// Chains that limits may be about.
    pub(super) fn chains(&self) -> &[u64] {
        &self.chains
    }

    /// Whether limits may be about a chain.
    pub(super) fn knows(&self, chain_id: u64) -> bool {
        self.chains.contains(&chain_id)
    }

    /// Replaces the limits of a person. Limits that stay keep their state. `false` where there is no such person.
    ///
    /// # Errors
    /// A database error.
    pub async fn put(&self, user: &str, limits: &[AlertLimit]) -> Result<bool, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        // A person who is merged away meanwhile must not get limits.
        transaction::lock_shared(&mut tx, transaction::PEOPLE).await?;
        let Some(user) = person_of(&mut tx, user).await? else { return Ok(false) };
        let keys: Vec<String> = limits.iter().map(alert_key).collect();
        sqlx::query(
            "delete from limit_crossings where user_id = $1 and starts_with(rule, 'alert:') and rule <> all($2::text[])",
        )
        .bind(&user)
        .bind(&keys)
        .execute(&mut *tx)
        .await?;
        let chains =
            limits.iter().map(|limit| int8("chain id", limit.chain_id)).collect::<Result<Vec<_>, _>>()?;
        let columns =
            "unnest($2::bigint[], $3::bytea[], $4::text[], $5::text[]) as l (chain_id, token, side, amount)";
        for sql in [
            format!(
                "delete from user_alerts where user_id = $1 and (chain_id, token, side, amount) not in \
                 (select chain_id, token, side, amount::numeric from {columns})"
            ),
            format!(
                "insert into user_alerts (user_id, chain_id, token, side, amount, after_seq) \
                 select $1, chain_id, token, side, amount::numeric, h.seq from {columns}, outbox_head h \
                 on conflict on constraint user_alerts_pkey do nothing"
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(&user)
                .bind(&chains)
                .bind(limits.iter().map(|limit| limit.token.as_slice()).collect::<Vec<_>>())
                .bind(limits.iter().map(|limit| limit.side.as_str()).collect::<Vec<_>>())
                .bind(limits.iter().map(|limit| limit.amount.to_string()).collect::<Vec<_>>())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The limits of a person; `None` where there is no such person.
    ///
    /// # Errors
    /// A database error.
    pub async fn get(&self, user: &str) -> Result<Option<Vec<AlertLimit>>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let Some(user) = person_of(&mut tx, user).await? else { return Ok(None) };
        let rows: Vec<(i64, Vec<u8>, String, String)> = sqlx::query_as(
            "select chain_id, token, side, amount::text from user_alerts where user_id = $1 order by chain_id, token, side, amount",
        )
        .bind(user)
        .fetch_all(&mut *tx)
        .await?;
        let limits =
            rows.into_iter().map(|(chain, token, side, amount)| alert_row(chain, &token, &side, &amount));
        limits.collect::<Result<_, _>>().map(Some)
    }
}

/// A limit as its row has it.
pub(super) fn alert_row(
    chain_id: i64,
    token: &[u8],
    side: &str,
    amount: &str,
) -> Result<AlertLimit, StoreError> {
    let corrupt = |what| StoreError::Corrupt { table: "user_alerts", what };
    Ok(AlertLimit {
        chain_id: unsigned("chain id", chain_id)?,
        token: address(token)?,
        side: LimitSide::from_word(side).ok_or_else(|| corrupt(format!("`{side}` is no side of a limit")))?,
        amount: U256::from_str_radix(amount, 10).map_err(|_| corrupt(format!("{amount} is no amount")))?,
    })
}
