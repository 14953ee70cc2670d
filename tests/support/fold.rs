//! The messages as a consumer takes them, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::postgres::PgConnection;

/// Ids of the events that remain in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded {
    pub confirmed: BTreeSet<String>,
    pub pending: BTreeSet<String>,
}

/// The same as the tables have it, where everything was published.
pub async fn held(connection: &mut PgConnection) -> Result<Folded, sqlx::Error> {
    let mut ids = async |table| {
        let sql = format!(
            "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from {table}"
        );
        let ids =
            sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
        Ok::<_, sqlx::Error>(ids.into_iter().collect())
    };
    Ok(Folded { confirmed: ids("events").await?, pending: ids("pending_events").await? })
}

/// Block and log.
type Place = (u64, u64);

#[derive(Default)]
struct Source {
    pending: BTreeMap<Place, String>,
    confirmed: BTreeMap<Place, String>,
}

/// Folds the outbox, or returns what is not as it must be: numbers rise by one from 1; an event is pending or confirmed
/// once at a time, and pending only before it is confirmed; nothing is retracted that was not published; each source publishes
/// what is pending in the order of the chain, what is confirmed too, and takes back what was confirmed newest first, after
/// everything pending above it.
pub fn fold(messages: &[String]) -> Result<Folded, String> {
    let mut sources = BTreeMap::<String, Source>::new();
    for (message, seq) in messages.iter().zip(1..) {
        let message: Value = serde_json::from_str(message).map_err(|error| error.to_string())?;
        let (word, metadata) = (|key: &str| message[key].as_str().unwrap_or_default(), &message["metadata"]);
        if message["seq"].as_u64() != Some(seq) {
            return Err(format!("message {seq} has another number: {message}"));
        }
        if word("type").starts_with("user.") {
            continue;
        }
        let number = |key: &str| metadata[key].as_u64().unwrap_or_default();
        let place = (number("blockNumber"), number("logIndex"));
        let source = sources.entry(metadata["source"].as_str().unwrap_or_default().to_owned()).or_default();
        source
            .take(word("state"), place, word("id"))
            .map_err(|what| format!("message {seq} of block {} {what}: {message}", place.0))?;
    }
    let mut folded = Folded::default();
    for Source { pending, confirmed } in sources.into_values() {
        folded.pending.extend(pending.into_values());
        folded.confirmed.extend(confirmed.into_values());
    }
    Ok(folded)
}

impl Source {
    fn take(&mut self, state: &str, place: Place, id: &str) -> Result<(), &'static str> {
        let top = |standing: &BTreeMap<Place, String>| standing.last_key_value().map(|(place, _)| *place);
        let (pending, confirmed) = (top(&self.pending), top(&self.confirmed));
        match state {
            "pending" if pending.max(confirmed) >= Some(place) => {
                Err("is not published in the order of the chain")
            }
            "pending" => {
                self.pending.insert(place, id.to_owned());
                Ok(())
            }
            "confirmed" if confirmed >= Some(place) => Err("is not confirmed in the order of the chain"),
            "confirmed" => {
                if self.pending.remove(&place).is_some_and(|published| published != id) {
                    return Err("is confirmed where another event is pending");
                }
                self.confirmed.insert(place, id.to_owned());
                Ok(())
            }
            "retracted" if self.pending.get(&place).is_some_and(|published| published == id) => {
                self.pending.remove(&place);
                Ok(())
            }
            "retracted" if confirmed != Some(place) || self.confirmed[&place] != id => {
                Err("retracts what is not there, or not the newest")
            }
            "retracted" if pending > Some(place) => {
                Err("takes back what is confirmed before what is pending")
            }
            "retracted" => {
                self.confirmed.remove(&place);
                Ok(())
            }
            _ => Err("is in no state there is"),
        }
    }
}
