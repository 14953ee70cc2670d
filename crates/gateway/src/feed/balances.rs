use std::collections::BTreeSet;
use std::sync::Arc;

use super::Feed;
use crate::push::{BalanceKey, Entry, KnownBalance, KnownBalances, Row, changed_balances, changes_balances};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_outbox::OutboxRow;

impl Feed {
    /// Messages for clients, with the balances that they changed as these are now. They are at least as new as the message, since both
    /// were committed together, and after a retraction they are without it. To read them with the message, as of its block, would take
    /// the history of every balance; the newest is what a screen shows.
    pub(super) async fn entries(&self, rows: Vec<OutboxRow>) -> Result<Vec<Arc<Entry>>, StoreError> {
        let changing = rows.iter().filter(|row| changes_balances(&row.message_type, &row.state));
        let wanted: BTreeSet<BalanceKey> = changing
            .flat_map(|row| changed_balances(&serde_json::from_str(&row.message).unwrap_or_default()))
            .collect();
        let balances = if wanted.is_empty() { KnownBalances::new() } else { self.balances(wanted).await? };
        let entry = |row: OutboxRow| {
            let row = Row { seq: row.seq, epoch: row.epoch.epoch, json: row.message };
            Arc::new(Entry::with_balances(row, &self.settings.rules, &balances))
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// These balances, 0 for a wallet that has none, by the primary key of each.
    async fn balances(&self, wanted: BTreeSet<BalanceKey>) -> Result<KnownBalances, StoreError> {
        let chains: Vec<i64> =
            wanted.iter().map(|key| int8("chain", key.chain_id)).collect::<Result<_, _>>()?;
        let rows: Vec<(String, Option<String>)> = sqlx::query_as(
            r"
            select coalesce(b.balance, 0)::text, u.id::text
            from (select ordinality, chain_id, decode(substr(token, 3), 'hex') as token,
                    decode(substr(account, 3), 'hex') as account
                from unnest($1::bigint[], $2::text[], $3::text[]) with ordinality as w (chain_id, token, account)) w
            left join token_balances b on b.chain_id = w.chain_id and b.token = w.token and b.account = w.account
            left join users u on u.wallet = w.account
            order by w.ordinality
            ",
        )
        .bind(chains)
        .bind(wanted.iter().map(|key| key.token.as_str()).collect::<Vec<_>>())
        .bind(wanted.iter().map(|key| key.account.as_str()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        let balances = rows.into_iter().map(|(amount, user_id)| KnownBalance { amount, user_id });
        Ok(wanted.into_iter().zip(balances).collect())
    }
}
