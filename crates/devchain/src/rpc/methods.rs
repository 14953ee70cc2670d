use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::B256;
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::filter::Filter;
use super::json::{BlockJson, LogJson, QuantityJson, ReceiptJson, TxJson};
use super::logs::get_logs;
use super::params::Params;
use super::view::View;
use crate::block::Block;
use crate::call::{Answer, Request, RpcError};
use crate::contracts::{DEMO_NFT, DEMO_TOKEN, STAKE_VAULT};
use crate::faults::Plan;
use crate::{DevChain, Settings};

/// The `newHeads` subscriptions of one socket.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    open: BTreeSet<u64>,
    next: u64,
}

impl Subscriptions {
    /// The open subscriptions, by their id as text.
    pub(crate) fn ids(&self) -> impl Iterator<Item = String> {
        self.open.iter().map(|id| format!("{id:#x}"))
    }

    fn subscribe(&mut self, params: &Params<'_>) -> Answer {
        match params.get(0)?.as_str() {
            Some("newHeads") => {
                self.next += 1;
                self.open.insert(self.next);
                result(&QuantityJson(self.next))
            }
            other => {
                let message = format!("no {:?} subscription in eth namespace", other.unwrap_or_default());
                Err(RpcError::new(-32601, &message))
            }
        }
    }

    fn unsubscribe(&mut self, params: &Params<'_>) -> Answer {
        let id = params.get(0)?.as_str().and_then(|id| u64::from_str_radix(id.strip_prefix("0x")?, 16).ok());
        match id.is_some_and(|id| self.open.remove(&id)) {
            true => result(&true),
            false => Err(RpcError::new(-32000, "subscription not found")),
        }
    }
}

/// Answers a call as the node described by `plan`.
pub(super) fn call(
    chain: &DevChain,
    request: &Request,
    plan: &Plan,
    subscriptions: Option<&mut Subscriptions>,
) -> Answer {
    let params = Params(&request.params);
    match (request.method.as_str(), subscriptions) {
        ("eth_subscribe", Some(open)) => open.subscribe(&params),
        ("eth_unsubscribe", Some(open)) => open.unsubscribe(&params),
        ("eth_subscribe" | "eth_unsubscribe", None) => {
            Err(RpcError::new(-32601, "notifications not supported"))
        }
        ("eth_getLogs", _) => {
            let filter = Filter::parse(params.get(0)?)?;
            let timed = chain.settings().block_timestamp_in_logs;
            let logs = get_logs(&View::new(chain, request, plan), &filter, timed, plan)?;
            result(&logs.into_iter().map(LogJson::new).collect::<Vec<_>>())
        }
        (method, _) => read(&View::new(chain, request, plan), method, &params, chain.settings()),
    }
}

fn read(view: &View<'_>, method: &str, params: &Params<'_>, settings: &Settings) -> Answer {
    let timed = settings.block_timestamp_in_logs;
    let block = |block: Option<&Block>| {
        let json = |block| BlockJson::new(block, params.flag(1), settings.chain_id).of_node(&view.behaviour);
        result(&block.map(json))
    };
    match method {
        "eth_chainId" => result(&QuantityJson(settings.chain_id)),
        "net_version" => result(&settings.chain_id.to_string()),
        "web3_clientVersion" => result(concat!("chainflume-devchain/", env!("CARGO_PKG_VERSION"))),
        "eth_syncing" => result(&false),
        "eth_blockNumber" => result(&QuantityJson(view.head)),
        "eth_getBlockByNumber" => block(view.block(view.number(params.tag(0)?)?).map(AsRef::as_ref)),
        "eth_getBlockByHash" => block(view.by_hash(&params.hash(0)?).map(AsRef::as_ref)),
        "eth_getTransactionByHash" => {
            let found = view.by_tx(&params.hash(0)?);
            match found.and_then(|(block, index)| TxJson::new(block, index, settings.chain_id)) {
                Some(mined) => result(&mined),
                None => {
                    let waiting = view.state.waiting(&params.hash(0)?);
                    result(&waiting.map(|tx| TxJson::waiting(tx, settings.chain_id)))
                }
            }
        }
        "eth_getTransactionCount" => {
            let number = view.number(params.tag(1)?)?;
            result(&QuantityJson(view.state.nonce_after(&params.address(0)?, number)))
        }
        "eth_getTransactionReceipt" => {
            let found = view.by_tx(&params.hash(0)?);
            result(&found.and_then(|(block, index)| ReceiptJson::all(block, timed).into_iter().nth(index)))
        }
        "eth_getBlockReceipts" => {
            let found = match params.get(0)?.as_str().and_then(|text| text.parse::<B256>().ok()) {
                Some(hash) => view.by_hash(&hash),
                None => view.block(view.number(params.tag(0)?)?),
            };
            result(&found.map(|block| ReceiptJson::all(block, timed)))
        }
        "eth_getCode" => {
            let address = params.address(0)?;
            // An address that emits logs is a contract.
            let logs = |block: &Arc<Block>| block.logs(false).any(|log| log.address == address);
            let emits = || (0..=view.head).any(|number| view.block(number).is_some_and(logs));
            let contract = [STAKE_VAULT, DEMO_TOKEN, DEMO_NFT].contains(&address) || emits();
            result(if contract { "0x60806040" } else { "0x" })
        }
        _ => {
            let message = format!("the method {method} does not exist/is not available");
            Err(RpcError::new(-32601, &message))
        }
    }
}

fn result<T: Serialize + ?Sized>(value: &T) -> Answer {
    to_raw_value(value).map_err(|error| RpcError::new(-32603, &error.to_string()))
}
