//! Asks nodes: heads, headers and logs, over JSON-RPC. An answer is evidence, not truth: what can be
//! checked against the question is checked here, and an answer that fails is an error, never "no logs".

mod ask_logs;
mod batch;
mod elsewhere;
mod error;
mod evidence;
mod genesis;
mod history;
mod identity;
mod learnt;
mod limits;
mod logs;
mod near;
mod node;
mod pool;
mod proof;
mod ranged;
mod rpc;
mod settings;
mod shelf;
mod vitals;
mod wake;
mod width;
mod wire;
mod work;
mod young;

pub use batch::Batch;
pub use elsewhere::Elsewhere;
pub use error::{ChainError, Refusal};
pub use evidence::Verify;
pub use history::{Depths, History, OnError};
pub use identity::Shown;
pub use learnt::Learnt;
pub use near::Near;
pub use node::{BlockWithLogs, Kin, Node, Standing, Tag};
pub use pool::{Pool, ProviderReport, Switched, essential};
pub use proof::Header;
pub use rpc::{MethodUsage, probing};
pub use settings::{
    ChainSettings, Compression, FailoverSettings, HistorySettings, PaceSettings, ProviderSettings, Role,
    host_of,
};
pub use wake::{Wake, WakeState, check_websocket};
pub use work::Work;
