use alloy_primitives::{Address, B256};
use serde::Deserialize;
use serde_json::json;

use super::{Node, hex};
use crate::error::ChainError;
use crate::rpc::RpcCall;
use crate::wire::Quantity;
use chainflume_core::domain::{BlockId, BlockRef};

/// The method for receipts of single transactions.
const RECEIPT: &str = "eth_getTransactionReceipt";
/// The method for transactions, mined or pending.
const TRANSACTION: &str = "eth_getTransactionByHash";
/// The method for nonces.
const NONCE: &str = "eth_getTransactionCount";

/// The result of a mined transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionReceipt {
    /// The block.
    pub block: BlockId,
    /// Whether the transaction succeeded; `false`: it reverted.
    pub succeeded: bool,
}

/// A transaction that a node knows, mined or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownTransaction {
    /// The account that signed it.
    pub sender: Address,
    /// The number of earlier transactions of the sender.
    pub nonce: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MinedReceipt {
    transaction_hash: B256,
    block_hash: B256,
    block_number: Quantity,
    /// Absent before Byzantium (EIP-658). A transaction without it counts as succeeded.
    status: Option<Quantity>,
}

#[derive(Deserialize)]
struct WireTransaction {
    hash: B256,
    from: Address,
    nonce: Quantity,
}

impl Node {
    /// The receipts of these transactions in their order; `None` for one that is in no canonical block.
    ///
    /// # Errors
    /// Why a request failed, or that an answer is about another transaction.
    pub async fn transaction_receipts(
        &self,
        hashes: &[B256],
    ) -> Result<Vec<Option<TransactionReceipt>>, ChainError> {
        let calls: Vec<RpcCall> = hashes.iter().map(|hash| RpcCall::new(RECEIPT, json!([hash]))).collect();
        let answers = self.rpc.ask_all::<MinedReceipt>(&calls).await?;
        let read = |(answer, hash): (Result<Option<MinedReceipt>, ChainError>, &B256)| {
            let Some(receipt) = answer? else { return Ok(None) };
            if receipt.transaction_hash != *hash || receipt.block_number.0 > BlockRef::HIGHEST {
                return Err(self
                    .rpc
                    .bad(RECEIPT, "a receipt of another transaction, or of a block that cannot be"));
            }
            let block = BlockId { number: receipt.block_number.0, hash: receipt.block_hash };
            Ok(Some(TransactionReceipt {
                block,
                succeeded: receipt.status.is_none_or(|status| status.0 == 1),
            }))
        };
        answers.into_iter().zip(hashes).map(read).collect()
    }

    /// These transactions in their order, mined or pending; `None` for one that the node does not know.
    ///
    /// # Errors
    /// As [`Self::transaction_receipts`].
    pub async fn known_transactions(
        &self,
        hashes: &[B256],
    ) -> Result<Vec<Option<KnownTransaction>>, ChainError> {
        let calls: Vec<RpcCall> =
            hashes.iter().map(|hash| RpcCall::new(TRANSACTION, json!([hash]))).collect();
        let answers = self.rpc.ask_all::<WireTransaction>(&calls).await?;
        let read = |(answer, hash): (Result<Option<WireTransaction>, ChainError>, &B256)| {
            let Some(known) = answer? else { return Ok(None) };
            if known.hash != *hash {
                return Err(self.rpc.bad(TRANSACTION, "another transaction"));
            }
            Ok(Some(KnownTransaction { sender: known.from, nonce: known.nonce.0 }))
        };
        answers.into_iter().zip(hashes).map(read).collect()
    }

    /// The number of transactions of each account up to a block; `None` where the node does not know it.
    ///
    /// # Errors
    /// Why the node cannot be asked.
    pub async fn nonces(&self, accounts: &[Address], block: u64) -> Result<Vec<Option<u64>>, ChainError> {
        let call = |account: &Address| RpcCall::new(NONCE, json!([account, hex(block)]));
        let calls: Vec<RpcCall> = accounts.iter().map(call).collect();
        let answers = self.rpc.ask_all::<Quantity>(&calls).await?;
        answers.into_iter().map(|answer| Ok(answer?.map(|nonce| nonce.0))).collect()
    }
}
