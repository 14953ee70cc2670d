//! Asks nodes: heads, headers and logs, over JSON-RPC. An answer is evidence, not truth: what can be
//! checked against the question is checked here, and an answer that fails is an error, never "no logs".

mod ask_logs;
mod batch;
mod error;
mod history;
mod learnt;
mod limits;
mod logs;
mod node;
mod rpc;
mod settings;
mod shelf;
mod wake;
mod width;
mod wire;

pub use batch::Batch;
pub use error::{ChainError, Refusal};
pub use history::{History, OnError};
pub use learnt::Learnt;
pub use node::{BlockWithLogs, Node, Tag};
pub use rpc::MethodUsage;
pub use settings::{ChainSettings, HistorySettings, PaceSettings};
pub use wake::{Wake, WakeState};
