//! Receives deliveries: verifies each, stores it with its hints in one transaction, then answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::B256;
use serde_json::{Map, Value};
use sqlx::postgres::PgPool;

use crate::hint::{DeliveryHint, hints};
use crate::verify::{
    Headers, InboundProvider, InboundSecret, SignatureRefusal, SignedRequest, VerifiedDelivery, verify,
};
use chainflume_core::domain::causes;
use chainflume_db::convert::int8;
use chainflume_db::transaction::{self, Tx};
use chainflume_db::{Database, StoreError};
use chainflume_ops::metrics;
use chainflume_ops::telemetry::{LogLimiter, Suppressed};

/// A `[[inbound]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundEndpoint {
    /// Name in the path, in metrics and in the table.
    pub name: String,
    /// How deliveries are signed.
    pub provider: InboundProvider,
    /// One secret, or two during a rotation.
    pub secrets: Vec<InboundSecret>,
    /// EIP-155 id of the chain that the deliveries are about; `None` keeps them without reading hints.
    pub chain: Option<u64>,
}

/// The answer to a delivery. Its bodies are what providers and their libraries expect, not problem+json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundAnswer {
    /// Stored, now or before.
    Stored,
    /// No signature, or a wrong or an old one.
    InvalidSignature,
    /// There is no endpoint of this name.
    NotFound,
    /// Another method than POST.
    MethodNotAllowed,
    /// The body is larger than the limit.
    TooLarge,
    /// The delivery could not be stored; the provider sends it again.
    Failed,
}

impl InboundAnswer {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Stored => 200,
            Self::InvalidSignature => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooLarge => 413,
            Self::Failed => 500,
        }
    }

    /// The body, JSON.
    pub fn body(self) -> &'static str {
        match self {
            Self::Stored => r#"{"success":true}"#,
            Self::InvalidSignature => r#"{"error":"Invalid signature"}"#,
            Self::NotFound => r#"{"error":"Not found"}"#,
            Self::MethodNotAllowed => r#"{"error":"Method not allowed"}"#,
            Self::TooLarge => r#"{"error":"Payload too large"}"#,
            Self::Failed => r#"{"error":"Internal server error"}"#,
        }
    }
}

/// Stores deliveries. Cheap to clone.
#[derive(Clone)]
pub struct InboundDeliveries {
    pool: PgPool,
    endpoints: Arc<BTreeMap<String, InboundEndpoint>>,
    max_body: usize,
    wake: WakeChain,
    lines: Arc<LogLimiter>,
}

impl fmt::Debug for InboundDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundDeliveries").field("endpoints", &self.endpoints.keys()).finish_non_exhaustive()
    }
}

/// The content of a delivery that was stored just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHints {
    /// Name of its endpoint.
    pub endpoint: String,
    /// EIP-155 id of the chain it is about.
    pub chain_id: u64,
    /// The highest block that it names.
    pub block: Option<u64>,
    /// The transactions that it names.
    pub transactions: Vec<B256>,
}

/// Called with the content of a new delivery; must not block.
pub type WakeChain = Arc<dyn Fn(NewHints) + Send + Sync>;

impl InboundDeliveries {
    /// An inbox for these endpoints. A body has `max_body` bytes at most, compressed and decompressed. `wake` is
    /// called when hints are stored.
    pub fn new(
        database: &Database,
        endpoints: Vec<InboundEndpoint>,
        max_body: usize,
        wake: WakeChain,
    ) -> Self {
        endpoints.iter().for_each(|endpoint| metrics::inbound_starts(&endpoint.name));
        let endpoints = endpoints.into_iter().map(|endpoint| (endpoint.name.clone(), endpoint)).collect();
        Self {
            pool: database.pool().clone(),
            endpoints: Arc::new(endpoints),
            max_body,
            wake,
            lines: Arc::default(),
        }
    }

    /// Whether there is an endpoint of this name, which decides between 404 and 405 before a body is read.
    pub fn has(&self, name: &str) -> bool {
        self.endpoints.contains_key(name)
    }

    /// Receives a delivery that arrived at `now`, in seconds since 1970. After [`InboundAnswer::Stored`] it is on disk.
    pub async fn receive(&self, name: &str, headers: &Headers, body: &[u8], now: u64) -> InboundAnswer {
        let began = Instant::now();
        let Some(endpoint) = self.endpoints.get(name) else { return InboundAnswer::NotFound };
        let request = SignedRequest { headers, body, now, max_body: self.max_body };
        let (answer, outcome) = match verify(&endpoint.provider, &endpoint.secrets, &request) {
            Err(refusal) => self.refused(endpoint, refusal),
            Ok(delivery) => match self.store(endpoint, headers, &delivery).await {
                Ok(true) => (InboundAnswer::Stored, "stored"),
                Ok(false) => (InboundAnswer::Stored, "repeated"),
                Err(error) => self.failed(endpoint, &error),
            },
        };
        metrics::inbound_delivery(name, outcome, began.elapsed());
        answer
    }

    fn refused(
        &self,
        endpoint: &InboundEndpoint,
        refusal: SignatureRefusal,
    ) -> (InboundAnswer, &'static str) {
        if let Some(suppressed) = self.admit(endpoint, refusal.as_str()) {
            let (endpoint, suppressed, remedy) = (&endpoint.name, suppressed.field(), refusal.remedy());
            tracing::warn!(%endpoint, reason = %refusal, suppressed, "a webhook delivery was refused; {remedy}");
        }
        let answer = match refusal {
            SignatureRefusal::TooLarge => InboundAnswer::TooLarge,
            _ => InboundAnswer::InvalidSignature,
        };
        (answer, refusal.as_str())
    }

    fn failed(&self, endpoint: &InboundEndpoint, error: &StoreError) -> (InboundAnswer, &'static str) {
        if let Some(suppressed) = self.admit(endpoint, "failed") {
            let (endpoint, suppressed) = (&endpoint.name, suppressed.field());
            tracing::warn!(%endpoint, error = %causes(error), suppressed, "a webhook delivery was not stored; the provider has to send it again");
        }
        (InboundAnswer::Failed, "failed")
    }

    /// Limits log lines by endpoint and cause: a line names its endpoint.
    fn admit(&self, endpoint: &InboundEndpoint, cause: &str) -> Option<Suppressed> {
        self.lines.admit(&format!("{} {cause}", endpoint.name))
    }

    /// Stores a delivery with its hints. Returns whether the delivery is new.
    async fn store(
        &self,
        endpoint: &InboundEndpoint,
        headers: &Headers,
        delivery: &VerifiedDelivery<'_>,
    ) -> Result<bool, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let inserted: Option<i64> = sqlx::query_scalar(
            r"
            insert into inbound_deliveries (endpoint, delivery_id, headers, body) values ($1, $2, $3, $4)
            on conflict on constraint inbound_deliveries_delivery_id_key do nothing
            returning id
            ",
        )
        .bind(&endpoint.name)
        .bind(&delivery.id)
        .bind(kept(headers))
        .bind(&*delivery.body)
        .fetch_optional(&mut *tx)
        .await?;
        let read = inserted.zip(endpoint.chain).map(|about| (about, hints(&delivery.body)));
        if let Some(((delivery, chain_id), hints)) = &read {
            insert_hints(&mut tx, *delivery, *chain_id, hints).await?;
        }
        tx.commit().await?;
        if let Some(((_, chain_id), hints)) = read.filter(|(_, hints)| !hints.is_empty()) {
            let block = hints.iter().filter_map(|hint| hint.block).max();
            let transactions = hints.iter().map(|hint| hint.transaction).collect();
            (self.wake)(NewHints { endpoint: endpoint.name.clone(), chain_id, block, transactions });
        }
        Ok(inserted.is_some())
    }
}

async fn insert_hints(
    tx: &mut Tx,
    delivery: i64,
    chain_id: u64,
    hints: &[DeliveryHint],
) -> Result<(), StoreError> {
    if hints.is_empty() {
        return Ok(());
    }
    let number = |value: Option<u64>| value.map(|value| int8("block number", value)).transpose();
    let logs = || hints.iter().map(|hint| hint.log.as_ref());
    let blocks: Vec<Option<i64>> = hints.iter().map(|hint| number(hint.block)).collect::<Result<_, _>>()?;
    let indexes: Vec<Option<i64>> =
        logs().map(|log| number(log.and_then(|log| log.index))).collect::<Result<_, _>>()?;
    sqlx::query(
        r"
        insert into inbound_hints
            (delivery, chain_id, kind, tx_hash, block_number, block_hash, address, topic0, log_index)
        select $1, $2, * from unnest($3::text[], $4::bytea[], $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[],
            $9::bigint[])
        ",
    )
    .bind(delivery)
    .bind(int8("chain id", chain_id)?)
    .bind(hints.iter().map(|hint| hint.kind.as_str()).collect::<Vec<_>>())
    .bind(hints.iter().map(|hint| hint.transaction.to_vec()).collect::<Vec<_>>())
    .bind(blocks)
    .bind(hints.iter().map(|hint| hint.block_hash.map(|hash| hash.to_vec())).collect::<Vec<_>>())
    .bind(logs().map(|log| log.map(|log| log.address.to_vec())).collect::<Vec<_>>())
    .bind(logs().map(|log| Some(log?.topics.first()?.to_vec())).collect::<Vec<_>>())
    .bind(indexes)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The headers that are stored: those that are text and no credentials.
fn kept(headers: &Headers) -> Value {
    let is_secret = |name: &str| ["authorization", "cookie", "proxy-authorization"].contains(&name);
    let text = headers.iter().filter(|(name, _)| !is_secret(name));
    let text = text.filter_map(|(name, value)| {
        let value = std::str::from_utf8(value).ok().filter(|value| !value.contains('\0'))?;
        Some((name.clone(), value.into()))
    });
    Value::Object(text.collect::<Map<String, Value>>())
}

#[cfg(test)]
mod tests;
