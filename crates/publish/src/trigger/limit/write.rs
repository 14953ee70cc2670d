use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::read::LimitLook;
use super::{BalanceStep, LimitCrossing, LimitRule, LimitTurn};
use crate::{ApplicationEvent, OwnFact, record};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::Tx;

/// Stores what a look found, with its messages. Returns whether it was the first to do so.
pub(super) async fn write(
    tx: &mut Tx,
    found: &LimitLook,
    windows: &impl Fn(u64) -> u64,
) -> Result<bool, StoreError> {
    let moved = sqlx::query("update balance_watch set seq = $2 where seq = $1")
        .bind(int8("sequence", found.since)?)
        .bind(int8("sequence", found.upto)?)
        .execute(&mut **tx)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    let mut facts: Vec<(u64, OwnFact)> = Vec::new();
    for (rule, user, turn) in &found.turns {
        match turn {
            LimitTurn::Cross(crossing, step) => {
                insert(tx, rule, user, crossing).await?;
                if let Some((number, _)) = crossing.block {
                    let kept_from = number.saturating_sub(windows(rule.limit.chain_id));
                    forget(tx, rule, user, kept_from).await?;
                }
                if let (Some(event), Some(step)) = (crossing.event, step) {
                    facts.push((
                        step.cause.seq,
                        OwnFact::Published(Box::new(crossing_event(rule, user, event, step))),
                    ));
                }
            }
            LimitTurn::Undo(cause, undone) => {
                sqlx::query(
                    "delete from limit_crossings where rule = $1 and user_id = $2 and block_hash = $3",
                )
                .bind(&rule.key)
                .bind(user)
                .bind(cause.block_hash.as_slice())
                .execute(&mut **tx)
                .await?;
                let events = undone.iter().rev().filter_map(|crossing| crossing.event);
                facts.extend(events.map(|event| (cause.seq, OwnFact::Withdrawn(event))));
            }
        }
    }
    facts.sort_by_key(|(seq, _)| *seq);
    let facts: Vec<OwnFact> = facts.into_iter().map(|(_, fact)| fact).collect();
    record(tx, &facts).await?;
    Ok(true)
}

async fn insert(
    tx: &mut Tx,
    rule: &LimitRule,
    user: &str,
    crossing: &LimitCrossing,
) -> Result<(), StoreError> {
    let number = crossing.block.map(|(number, _)| int8("block number", number)).transpose()?;
    sqlx::query(
        r"
        insert into limit_crossings (rule, user_id, is_beyond, chain_id, block_number, block_hash, event_id)
        values ($1, $2, $3, $4, $5, $6, $7)
        ",
    )
    .bind(&rule.key)
    .bind(user)
    .bind(crossing.is_beyond)
    .bind(int8("chain id", rule.limit.chain_id)?)
    .bind(number)
    .bind(crossing.block.map(|(_, hash)| hash.to_vec()))
    .bind(crossing.event)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes crossings below a block that no reorg reaches, all but the newest of them: it shows on which side the balance is if all that
/// came later is undone.
async fn forget(tx: &mut Tx, rule: &LimitRule, user: &str, kept_from: u64) -> Result<(), StoreError> {
    sqlx::query(
        r"
        delete from limit_crossings where rule = $1 and user_id = $2 and id < (
            select max(id) from limit_crossings where rule = $1 and user_id = $2 and block_number < $3)
        ",
    )
    .bind(&rule.key)
    .bind(user)
    .bind(int8("block number", kept_from)?)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The event of a crossing. Its cause is the message about the movement.
fn crossing_event(rule: &LimitRule, user: &str, id: Uuid, step: &BalanceStep) -> ApplicationEvent {
    let (limit, cause) = (&rule.limit, &step.cause);
    let mut payload = Map::new();
    let mut put = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    if let Some(threshold) = &rule.threshold {
        put("threshold", json!(threshold));
    }
    put("chainId", json!(limit.chain_id));
    put("token", json!(format!("{:#x}", limit.token)));
    put(limit.side.as_str(), json!(limit.amount.to_string()));
    put("balance", json!(step.balance.to_string()));
    put("blockNumber", json!(cause.block_number));
    put("blockHash", json!(cause.block_hash));
    put("transactionHash", json!(cause.transaction));
    ApplicationEvent {
        id,
        event_type: rule.event_type.clone(),
        aggregate_type: "account".to_owned(),
        aggregate_id: user.to_owned(),
        payload,
        user_id: Some(user.to_owned()),
        correlation_id: Some(cause.transaction.to_string()),
        causation_id: Some(cause.id.to_string()),
        source: rule
            .threshold
            .as_ref()
            .map_or_else(|| "alerts".to_owned(), |name| format!("threshold:{name}")),
        timestamp: cause.timestamp.clone(),
    }
}
