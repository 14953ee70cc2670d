//! The types that every room shares: block references, ranges, logs, events, projections, ids. No I/O, no framework.

mod block;
mod causes;
mod column;
mod dead_letter;
mod digest_uuid;
mod event;
mod event_id;
mod filter;
mod followed;
mod header;
mod log;
mod logs;
mod message;
mod message_type;
mod off_chain;
mod projection;
mod receipt;
mod template;
mod token_range;
mod topic_filter;
mod trie;
mod type_pattern;

pub use block::{BlockId, BlockRange, BlockRef};
pub use causes::causes;
pub use column::{Column, SqlType, TupleMember, TupleMembers, VIEW_COLUMNS, VIEW_NAME_BYTES, ViewColumn};
pub use dead_letter::{DeadLetter, DeadLetterKind};
pub use digest_uuid::digest_uuid;
pub use event::{Aggregate, Event, EventKind, Fact, KindIndex, Projection};
pub use event_id::{EventId, EventIdParts};
pub use filter::{AddressSet, LogFilter};
pub use followed::{
    ChainComparison, ConfiguredSource, EventKey, FilledSource, FollowedEvent, FollowedRange,
    SourceComparison, SourceDifference, SourceGap, StartBlock, UnreadRange, compare, normal,
};
pub use header::{HeaderField, header_hash};
pub use log::{Log, Place, Topics};
pub use logs::{LogBlock, Logs, LogsIter};
pub use message::{
    Envelope, MESSAGE_SCHEMA, Message, MessageState, Metadata, UnknownMessageState, amount_formatted,
};
pub use message_type::{CHAIN_TYPE_PREFIXES, CHAIN_TYPES, USER_ACTIVATED, USER_UPDATED, is_chain_type};
pub use off_chain::{AggregateRef, MESSAGE_VERSION, OffChainMessage, OffChainMetadata, rfc3339_millis};
pub use projection::{OwnerRange, ProjectionChange, ProjectionDelta, SignedSum};
pub use receipt::{Receipt, ReceiptOutcome, receipts_root};
pub use template::{Template, TemplateError, TemplatePart};
pub use token_range::TokenRange;
pub use topic_filter::{TopicFilter, TopicValues};
pub use type_pattern::{TypePattern, TypePatternError};

pub use alloy_primitives::{Address, B256, Bytes, U256};
