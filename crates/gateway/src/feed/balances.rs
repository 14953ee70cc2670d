use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Feed;
use crate::push::{BalanceKey, Entry, KnownBalance, Lookups, PushRule, Row, changed_balances, is_off_chain};
use chainflume_api::access::{Room, RoomKind};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_outbox::{OutboxRow, addresses, room_key};

impl Feed {
    /// Messages for clients, with the people whose wallets they name, and with the balances that they changed as these are now. Balances
    /// are at least as new as the message, since both were committed together, and after a retraction they are without it. To read them
    /// as of the message's block would take the history of every balance; the newest is what a screen shows.
    ///
    /// With `wanted`, of which clients in these rooms alone get something: what no such room needs is not looked up.
    pub(super) async fn entries(
        &self,
        rows: Vec<OutboxRow>,
        wanted: Option<&[Room]>,
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        let is_user = |room: &Room| matches!(room.kind(), RoomKind::User(_));
        let has_user = wanted.is_none_or(|rooms| rooms.iter().any(is_user));
        let rows = rows.into_iter().map(parsed);
        if !has_user && !self.settings.rules.iter().any(PushRule::is_for_persons) {
            // One after the other: all messages of a page, parsed, would be in memory at once.
            let none = Lookups::default();
            return Ok(rows.map(|row| self.entry(row, &none, wanted)).collect());
        }
        let rows: Vec<Row> = rows.collect();
        let lookups = self.lookups(&rows).await?;
        Ok(rows.into_iter().map(|row| self.entry(row, &lookups, wanted)).collect())
    }

    fn entry(&self, row: Row, lookups: &Lookups, wanted: Option<&[Room]>) -> Arc<Entry> {
        Arc::new(Entry::with_lookups(row, &self.settings.rules, lookups, wanted))
    }

    /// The people and the balances of these messages.
    async fn lookups(&self, rows: &[Row]) -> Result<Lookups, StoreError> {
        let (mut wallets, mut users, mut wanted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for message in rows.iter().map(Row::message) {
            let named = addresses(message["aggregateId"].as_str(), message["payload"].as_object());
            // A fact that is not on a chain reaches no user through a wallet.
            if is_off_chain(message) {
                users.extend(message["metadata"]["userId"].as_str().map(str::to_owned));
            } else {
                wallets.extend(named.into_iter().map(str::to_owned));
            }
            wanted.extend(changed_balances(message));
        }
        let owners = if wallets.len() + users.len() == 0 {
            BTreeMap::new()
        } else {
            self.owners(&wallets, &users).await?
        };
        let balances = if wanted.is_empty() { BTreeMap::new() } else { self.balances(wanted).await? };
        Ok(Lookups { balances, owners })
    }

    /// The application's ids of the person of each of these wallets, and the other ids of the person of each of these ids. Where a rule
    /// asks for the rooms of a person, also those of the record of each wallet, by which messages about a chain name their user.
    async fn owners(
        &self,
        wallets: &BTreeSet<String>,
        users: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            r"
            with named as (
                select w.wallet as name, decode(substr(w.wallet, 3), 'hex') as wallet
                from unnest($1::text[]) as w (wallet)
                where w.wallet ~ '^0x([0-9a-f]{2})*$'
            ), records as (
                -- A reorg may have taken the record away since.
                select coalesce(u.id, k.id, user_id(n.wallet))::text as name, n.name as own, n.wallet
                from named n left join users u on u.wallet = n.wallet left join user_ids k on k.wallet = n.wallet
                where $3
            ), known as (
                select n.name, o.user_id as own from named n join user_wallets o on o.wallet = n.wallet
                union all
                select r.name, o.user_id from records r join user_wallets o on o.wallet = r.wallet
                union all
                select u.id, coalesce(a.user_id, u.id)
                from unnest($2::text[]) as u (id) left join user_aliases a on a.alias = u.id
            )
            select name, own from records
            union all
            select name, own from known where name <> own
            union all
            select k.name, a.alias from known k join user_aliases a on a.user_id = k.own where a.alias <> k.name
            ",
        )
        .bind(wallets.iter().map(String::as_str).collect::<Vec<_>>())
        .bind(users.iter().map(String::as_str).collect::<Vec<_>>())
        .bind(self.settings.rules.iter().any(PushRule::is_for_persons))
        .fetch_all(&self.pool)
        .await?;
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, id) in rows {
            owners.entry(name).or_default().push(id);
        }
        Ok(owners)
    }

    /// Keys under which the outbox finds what concerns wallets and other ids of the users in these rooms.
    pub(super) async fn person_keys(&self, rooms: &[Room]) -> Result<Vec<i64>, StoreError> {
        let user = |room: &Room| match room.kind() {
            RoomKind::User(id) => Some(id.to_owned()),
            _ => None,
        };
        let users: Vec<String> = rooms.iter().filter_map(user).collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = sqlx::query_scalar(
            r"
            with own as (
                select coalesce(a.user_id, u.id) as id from unnest($1::text[]) as u (id) left join user_aliases a on a.alias = u.id
            )
            select '0x' || encode(w.wallet, 'hex') from own join user_wallets w on w.user_id = own.id
            union
            select id from own
            union
            select a.alias from own join user_aliases a on a.user_id = own.id
            ",
        )
        .bind(users)
        .fetch_all(&self.pool)
        .await?;
        Ok(names.iter().map(|name| room_key(name)).collect())
    }

    /// These balances, 0 for a wallet that has none, by the primary key of each.
    async fn balances(
        &self,
        wanted: BTreeSet<BalanceKey>,
    ) -> Result<BTreeMap<BalanceKey, KnownBalance>, StoreError> {
        let chains: Vec<i64> =
            wanted.iter().map(|key| int8("chain", key.chain_id)).collect::<Result<_, _>>()?;
        let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
            r"
            select coalesce(b.balance, 0)::text, u.id::text, case when o.user_id is not null then (
                    select coalesce(sum(t.balance), 0)::text from user_wallets own
                    join token_balances t on t.chain_id = w.chain_id and t.token = w.token and t.account = own.wallet
                    where own.user_id = o.user_id) end
            from (select ordinality, chain_id, decode(substr(token, 3), 'hex') as token,
                    decode(substr(account, 3), 'hex') as account
                from unnest($1::bigint[], $2::text[], $3::text[]) with ordinality as w (chain_id, token, account)) w
            left join token_balances b on b.chain_id = w.chain_id and b.token = w.token and b.account = w.account
            left join users u on u.wallet = w.account
            left join user_wallets o on o.wallet = w.account
            order by w.ordinality
            ",
        )
        .bind(chains)
        .bind(wanted.iter().map(|key| key.token.as_str()).collect::<Vec<_>>())
        .bind(wanted.iter().map(|key| key.account.as_str()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        let balances =
            rows.into_iter().map(|(amount, user_id, total)| KnownBalance { amount, user_id, total });
        Ok(wanted.into_iter().zip(balances).collect())
    }
}

fn parsed(row: OutboxRow) -> Row {
    let age = Duration::from_micros(u64::try_from(row.age_micros).unwrap_or_default());
    Row::new(row.seq, row.epoch.epoch, row.message).stored_at(Instant::now().checked_sub(age))
}
