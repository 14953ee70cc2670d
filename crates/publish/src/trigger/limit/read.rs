use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use uuid::Uuid;

use super::alerts::alert_row;
use super::judge::steps;
use super::{BalanceSum, LimitCrossing, LimitRule, LimitTurn, Movement, Threshold, judge};
use crate::derived_id;
use chainflume_db::StoreError;
use chainflume_db::convert::{address, hash, int8, unsigned};
use chainflume_db::transaction::Tx;

/// Messages of one page.
const PAGE: i64 = 1_000;
/// Pages of one look at most, for the memory: with more messages waiting, crossings in those that are left out are not published.
const PAGES: usize = 200;

/// Messages that may pass before the number is moved although nothing is compared: a write for each commit would be for nothing.
const IDLE: u64 = 10_000;

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct LimitLook {
    /// The number that was judged up to before this look.
    pub since: u64,
    /// The number that is judged up to now.
    pub upto: u64,
    /// Messages that are left out, since too many waited.
    pub left_out: bool,
    /// What became of rules and people.
    pub turns: Vec<(LimitRule, String, LimitTurn)>,
}

/// Looks at the movements after `since`, all in one snapshot: the balances in it are those after the last of them.
pub(super) async fn look(tx: &mut Tx, since: u64, thresholds: &[Threshold]) -> Result<LimitLook, StoreError> {
    let upto: i64 = sqlx::query_scalar("select seq from outbox_head").fetch_one(&mut **tx).await?;
    let mut found = LimitLook { since, upto: unsigned("sequence", upto)?, ..LimitLook::default() };
    if found.upto == since {
        return Ok(found);
    }
    if thresholds.is_empty() && !has_alerts(tx).await? {
        // Nothing is compared. A limit that is set now counts from its own message on.
        if found.upto - since < IDLE {
            found.upto = since;
        }
        return Ok(found);
    }
    let (movements, left_out) = movements(tx, since).await?;
    found.left_out = left_out;
    if movements.is_empty() || left_out {
        return Ok(found);
    }
    let people = People::of(tx, &movements).await?;
    let rules = Rules::of(tx, thresholds, &people).await?;
    for ((user, chain_id, token), moved) in people.moved(&movements) {
        let wallets = &people.wallets[user];
        let balance = people.balances.get(&(user.to_owned(), chain_id, token)).copied().unwrap_or_default();
        let steps = steps(&moved, wallets, balance);
        for rule in rules.about(user, (chain_id, token)) {
            let crossings = rules.crossings.get(&(rule.key.clone(), user.to_owned())).cloned();
            let event = |cause: &Movement| event_id(rule, user, cause);
            let turns = judge(rule, crossings.unwrap_or_default(), &steps, event);
            found.turns.extend(turns.into_iter().map(|turn| (rule.clone(), user.to_owned(), turn)));
        }
    }
    Ok(found)
}

/// The id of the event about a crossing: the same for the same cause.
fn event_id(rule: &LimitRule, user: &str, cause: &Movement) -> Uuid {
    derived_id(&[b"limit", rule.key.as_bytes(), user.as_bytes(), cause.id.as_bytes()])
}

async fn has_alerts(tx: &mut Tx) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("select exists (select from user_alerts)").fetch_one(&mut **tx).await?)
}

/// The movements after a number, in their order, and whether there are more than one look takes.
async fn movements(tx: &mut Tx, since: u64) -> Result<(Vec<Movement>, bool), StoreError> {
    let (mut after, mut movements) = (int8("sequence", since)?, Vec::new());
    for _ in 0..PAGES {
        let rows: Vec<(i64, String, Option<Vec<u8>>)> = sqlx::query_as(
            r"
            select seq, message, account from outbox
            where seq > $1 and type in ('erc20.transfer', 'erc20.mint', 'erc20.burn') and state <> 'pending'
            order by seq limit $2
            ",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_all(&mut **tx)
        .await?;
        let is_last = (rows.len() as i64) < PAGE;
        for (seq, message, account) in rows {
            after = seq;
            let account = account.unwrap_or_default();
            movements.extend(Movement::read(unsigned("sequence", seq)?, &message, &account));
        }
        if is_last {
            return Ok((movements, false));
        }
    }
    Ok((movements, true))
}

/// People whose wallets are among the parties.
struct People {
    wallets: BTreeMap<String, BTreeSet<Address>>,
    balances: BTreeMap<(String, u64, Address), BalanceSum>,
}

impl People {
    async fn of(tx: &mut Tx, movements: &[Movement]) -> Result<Self, StoreError> {
        let parties: BTreeSet<Address> =
            movements.iter().flat_map(|movement| [movement.from, movement.to]).collect();
        let parties: Vec<&[u8]> = parties.iter().map(|party| party.as_slice()).collect();
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            r"
            select user_id, wallet from user_wallets
            where user_id in (select user_id from user_wallets where wallet = any($1))
            ",
        )
        .bind(parties)
        .fetch_all(&mut **tx)
        .await?;
        let mut wallets: BTreeMap<String, BTreeSet<Address>> = BTreeMap::new();
        for (user, wallet) in rows {
            wallets.entry(user).or_default().insert(address(&wallet)?);
        }
        let tokens: BTreeSet<Address> = movements.iter().map(|movement| movement.token).collect();
        let rows: Vec<(String, i64, Vec<u8>, String)> = sqlx::query_as(
            r"
            select w.user_id, b.chain_id, b.token, sum(b.balance)::text
            from user_wallets w join token_balances b on b.account = w.wallet
            where w.user_id = any($1) and b.token = any($2) group by w.user_id, b.chain_id, b.token
            ",
        )
        .bind(wallets.keys().map(String::as_str).collect::<Vec<_>>())
        .bind(tokens.iter().map(|token| token.as_slice()).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
        let mut balances = BTreeMap::new();
        for (user, chain_id, token, balance) in rows {
            let key = (user, unsigned("chain id", chain_id)?, address(&token)?);
            balances.insert(key, BalanceSum::from_dec_str(&balance).unwrap_or_default());
        }
        Ok(Self { wallets, balances })
    }
}

/// Movements by person, chain and token.
type MovedTokens<'a> = BTreeMap<(&'a str, u64, Address), Vec<&'a Movement>>;

impl People {
    /// The movements of each person's tokens, in their order.
    fn moved<'a>(&'a self, movements: &'a [Movement]) -> MovedTokens<'a> {
        let owned = |(user, wallets): (&'a String, &'a BTreeSet<Address>)| {
            wallets.iter().map(move |wallet| (*wallet, user.as_str()))
        };
        let owners: BTreeMap<Address, &str> = self.wallets.iter().flat_map(owned).collect();
        let mut moved = MovedTokens::new();
        for movement in movements {
            let users: BTreeSet<&str> =
                [movement.from, movement.to].iter().filter_map(|party| owners.get(party).copied()).collect();
            for user in users {
                moved.entry((user, movement.chain_id, movement.token)).or_default().push(movement);
            }
        }
        moved
    }
}

/// What the balances of these people are compared with, and on which side they are.
struct Rules {
    thresholds: Vec<LimitRule>,
    alerts: BTreeMap<String, Vec<LimitRule>>,
    /// By rule and person, the oldest first.
    crossings: BTreeMap<(String, String), Vec<LimitCrossing>>,
}

impl Rules {
    async fn of(tx: &mut Tx, thresholds: &[Threshold], people: &People) -> Result<Self, StoreError> {
        let users: Vec<&str> = people.wallets.keys().map(String::as_str).collect();
        let since: BTreeMap<String, i64> =
            sqlx::query_as::<_, (String, i64)>("select rule, after_seq from thresholds")
                .fetch_all(&mut **tx)
                .await?
                .into_iter()
                .collect();
        let of_threshold = |threshold: &Threshold| {
            let after = since.get(&super::threshold_key(threshold)).copied().unwrap_or(i64::MAX);
            Ok(LimitRule::of_threshold(threshold, unsigned("sequence", after)?))
        };
        let mut alerts: BTreeMap<String, Vec<LimitRule>> = BTreeMap::new();
        let rows: Vec<(String, i64, Vec<u8>, String, String, i64)> = sqlx::query_as(
            "select user_id, chain_id, token, side, amount::text, after_seq from user_alerts where user_id = any($1)",
        )
        .bind(&users)
        .fetch_all(&mut **tx)
        .await?;
        for (user, chain_id, token, side, amount, after) in rows {
            let limit = alert_row(chain_id, &token, &side, &amount)?;
            alerts.entry(user).or_default().push(LimitRule::of_alert(limit, unsigned("sequence", after)?));
        }
        let mut crossings: BTreeMap<(String, String), Vec<LimitCrossing>> = BTreeMap::new();
        let rows: Vec<CrossingRow> = sqlx::query_as(
            r"
            select rule, user_id, is_beyond, block_number, block_hash, event_id from limit_crossings
            where user_id = any($1) order by id
            ",
        )
        .bind(&users)
        .fetch_all(&mut **tx)
        .await?;
        for row in rows {
            crossings.entry((row.rule.clone(), row.user_id.clone())).or_default().push(row.crossing()?);
        }
        Ok(Self {
            thresholds: thresholds.iter().map(of_threshold).collect::<Result<_, StoreError>>()?,
            alerts,
            crossings,
        })
    }

    /// The rules about a person's balance of a token.
    fn about<'a>(&'a self, user: &str, token: (u64, Address)) -> impl Iterator<Item = &'a LimitRule> {
        let all = self.thresholds.iter().chain(self.alerts.get(user).into_iter().flatten());
        all.filter(move |rule| (rule.limit.chain_id, rule.limit.token) == token)
    }
}

#[derive(sqlx::FromRow)]
struct CrossingRow {
    rule: String,
    user_id: String,
    is_beyond: bool,
    block_number: Option<i64>,
    block_hash: Option<Vec<u8>>,
    event_id: Option<Uuid>,
}

impl CrossingRow {
    fn crossing(self) -> Result<LimitCrossing, StoreError> {
        let block = match (self.block_number, self.block_hash) {
            (Some(number), Some(bytes)) => Some((unsigned("block number", number)?, hash(&bytes)?)),
            _ => None,
        };
        Ok(LimitCrossing { is_beyond: self.is_beyond, block, event: self.event_id })
    }
}
