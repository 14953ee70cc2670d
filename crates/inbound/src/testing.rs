//! Databases and deliveries for the tests of this crate.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, hex};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::inbox::{InboundEndpoint, WakeChain};
use crate::verify::{Headers, InboundProvider, InboundSecret};
use chainflume_db::{Database, Settings};
use chainflume_testkit::postgres;

const SECRET: &str = "a secret of the tests";
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// The contract of the transfers.
pub fn token() -> Address {
    Address::repeat_byte(0xcc)
}

/// The transaction of the transfers in this block.
pub fn transaction(block: u64) -> B256 {
    B256::from(alloy_primitives::U256::from(block))
}

/// A database with every table.
pub async fn migrated() -> Database {
    let url = postgres::database().await;
    let settings = Settings { url, max_connections: 4, acquire_timeout: Duration::from_secs(30) };
    let database = Database::connect(&settings).await.expect("the database is there");
    database.migrate().await.expect("the tables can be made");
    database
}

/// An endpoint that signs as Alchemy does.
pub fn endpoint(name: &str, chain: Option<u64>) -> InboundEndpoint {
    let provider = InboundProvider::Alchemy;
    let secret = InboundSecret::read(&provider, SECRET).expect("long enough");
    InboundEndpoint { name: name.to_owned(), provider, secrets: vec![secret], chain }
}

/// A delivery about so many transfers of one transaction.
pub fn delivery(id: &str, block: u64, transfers: u64) -> Vec<u8> {
    let word = |byte: u8| B256::repeat_byte(byte).to_string();
    let log = |index: u64| {
        json!({ "address": token(), "topics": [TRANSFER, word(1), word(2)], "data": "0x", "blockNumber": block,
            "transactionHash": transaction(block), "logIndex": index })
    };
    let logs: Vec<_> = (0..transfers).map(log).collect();
    json!({ "id": id, "event": { "activity": logs } }).to_string().into_bytes()
}

/// Wakes no chain.
pub fn quiet() -> WakeChain {
    Arc::new(|_| {})
}

/// The headers of a body that is signed.
pub fn signed(body: &[u8]) -> Headers {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(body);
    let signature = hex::encode(mac.finalize().into_bytes()).into_bytes();
    let headers = [("x-alchemy-signature", signature), ("authorization", b"Bearer secret".to_vec())];
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
