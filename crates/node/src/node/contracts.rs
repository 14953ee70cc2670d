//! Checks contracts: whether they have code, and which logs they emit.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use serde_json::json;

use super::Node;
use crate::error::ChainError;
use crate::rpc::RpcCall;
use chainflume_core::domain::{BlockRange, LogFilter, Logs, TopicValues};

/// Widths of the requests for the newest logs, in blocks. A busy contract has logs in ten blocks, and free plans
/// accept no more than that. A contract without a log in a thousand blocks is reported as silent.
const WIDTHS: [u64; 3] = [10, 100, 1_000];

impl Node {
    /// The contracts of the list that have no code at the newest block.
    ///
    /// # Errors
    /// Why the node cannot be asked.
    pub async fn without_code(&self, contracts: &[Address]) -> Result<Vec<Address>, ChainError> {
        let call = |contract: &Address| RpcCall::new("eth_getCode", json!([contract, "latest"]));
        let calls: Vec<RpcCall> = contracts.iter().map(call).collect();
        let answers = self.rpc.ask_all::<String>(&calls).await?;
        let mut without = Vec::new();
        for (contract, answer) in contracts.iter().zip(answers) {
            // `null` proves nothing.
            if answer?.is_some_and(|code| code == "0x") {
                without.push(*contract);
            }
        }
        Ok(without)
    }

    /// The newest logs of these contracts up to block `head`, of any event, and the blocks that were searched. A node
    /// that accepts only narrow ranges is searched as far as it answers.
    ///
    /// # Errors
    /// Why the narrowest request failed.
    pub async fn newest_logs(
        &self,
        contracts: &BTreeSet<Address>,
        head: u64,
    ) -> Result<(BlockRange, Logs), ChainError> {
        let filter =
            LogFilter { addresses: Some(contracts.clone()), topic0: None, values: TopicValues::default() };
        let mut found = None;
        for width in WIDTHS {
            if found.is_some() && self.width().was_refused(width) {
                break;
            }
            let range = BlockRange::new(head.saturating_sub(width - 1), head).expect("it ends at the head");
            match self.logs(&filter, range).await {
                Ok(logs) if logs.is_empty() && range.from() > 0 => found = Some((range, logs)),
                Ok(logs) => return Ok((range, logs)),
                Err(error) => return found.ok_or(error),
            }
        }
        Ok(found.expect("the first width was requested"))
    }
}
