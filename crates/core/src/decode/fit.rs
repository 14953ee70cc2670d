use std::sync::Arc;

use super::decoder::{DecodeOutcome, Decoder};
use super::event::{AbiEvent, SourceAbi};
use crate::domain::{Log, TopicFilter};

/// How the logs of a source's contracts fit its ABI. A contract may emit more events than the source follows, so other
/// logs are usual. Only a sample without any event of the source is suspicious.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbiFit {
    /// Number of checked logs, whatever their first topic.
    pub logs: u64,
    /// Number of these logs that are events of the source.
    pub events: u64,
    /// Why the first log with the first topic of an event of the source does not fit.
    pub misfit: Option<String>,
}

/// Compares logs of a source's contracts with its ABI. Those that a filter leaves out fit as well.
pub fn abi_fit(abi: &SourceAbi, logs: impl IntoIterator<Item = Log>) -> AbiFit {
    let whole = |event: &Arc<AbiEvent>| Arc::new(event.filtered(TopicFilter::default()));
    let events = abi.events.iter().map(whole).collect();
    let decoder = Decoder::new(vec![SourceAbi { events, ..abi.clone() }]);
    let mut fit = AbiFit::default();
    for log in logs.into_iter().filter(|log| abi.addresses.contains(&log.address)) {
        fit.logs += 1;
        match decoder.decode(&log) {
            DecodeOutcome::Typed(_) => fit.events += 1,
            DecodeOutcome::Malformed { reason, .. } => fit.misfit = fit.misfit.or(Some(reason)),
            DecodeOutcome::Foreign => {}
        }
    }
    fit
}
