//! Reads heads, headers and logs from nodes, over JSON-RPC. An answer is evidence, not truth. Every answer is checked
//! against its request, and an answer that fails a check is an error, never "no logs".

mod alternates;
mod batch;
mod bundle;
mod endpoint_limits;
mod error;
mod heads;
mod health;
mod history;
mod limits;
mod logs;
mod node;
mod pool;
mod reorder_buffer;
mod rpc;
mod settings;
mod width;
mod wire;

pub use alternates::AlternateProviders;
pub use batch::Batch;
pub use endpoint_limits::EndpointLimits;
pub use error::ChainError;
pub use heads::{HeadNotifier, HeadSource, check_websocket};
pub use history::{HistoryReader, HistoryRequest, OnError, ReadDepths};
pub use limits::RefusalKind;
pub use node::headers_with_logs::HeaderWithLogs;
pub use node::identified_header::IdentifiedHeader;
pub use node::identity::IdentifiedBlocks;
pub use node::transactions::{KnownTransaction, TransactionReceipt};
pub use node::{BlockWithLogs, Node, NodeStatus, ProviderGroup};
pub use pool::{Pool, ProviderState, SwitchListener, check_essentials};
pub use rpc::{MAX_RETRY_AFTER, MethodUsage, probing};
pub use settings::{
    BlockTag, ChainSettings, Compression, FailoverSettings, HistorySettings, LogVerification, MAX_RATE,
    ProviderRole, ProviderSettings, RateLimitSettings, Work, headers_of, host_of,
};
