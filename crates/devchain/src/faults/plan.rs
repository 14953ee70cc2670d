use std::time::Duration;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{Edit, Effect, Lie, Wire};
use crate::DevChain;
use crate::call::{Answer, RpcError};
use chainflume_core::domain::Log;

/// The combined effect of the rules on one call.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    delay: Duration,
    until: Vec<CancellationToken>,
    lag: u64,
    lies: Vec<Lie>,
    edits: Vec<Edit>,
    stranger: Option<DevChain>,
    answer: Option<Result<(), RpcError>>,
    wrong_id: bool,
    backwards: bool,
    wire: Option<Wire>,
}

impl Plan {
    pub(super) fn adopt(&mut self, effect: Effect) {
        match effect {
            Effect::Delay(delay) => self.delay += delay,
            Effect::Until(token) => self.until.push(token),
            Effect::Lag(blocks) => self.lag += blocks,
            Effect::Lie(lie) => self.lies.push(lie),
            Effect::Edit(edit) => self.edits.push(edit),
            Effect::Stranger(chain) => drop(self.stranger.get_or_insert(chain)),
            Effect::Error(error) => drop(self.answer.get_or_insert(Err(error))),
            Effect::Null => drop(self.answer.get_or_insert(Ok(()))),
            Effect::WrongId => self.wrong_id = true,
            Effect::Backwards => self.backwards = true,
            Effect::Wire(wire) => drop(self.wire.get_or_insert(wire)),
        }
    }

    /// Waits as long as the answer is delayed.
    pub(crate) async fn wait(&self) {
        if self.delay > Duration::ZERO {
            time::sleep(self.delay).await;
        }
        for token in &self.until {
            token.cancelled().await;
        }
    }

    /// The answer that takes the place of the node's own.
    pub(crate) fn answer(&self) -> Option<Answer> {
        let answer = self.answer.clone()?;
        Some(answer.map(|()| RawValue::NULL.to_owned()))
    }

    /// The chain that answers in place of the called one.
    pub(crate) fn chain<'a>(&'a self, called: &'a DevChain) -> &'a DevChain {
        self.stranger.as_ref().unwrap_or(called)
    }

    /// Number of newest blocks that the node lacks, beside those of its behaviour.
    pub(crate) fn lag(&self) -> u64 {
        self.lag
    }

    /// Changes the logs of an answer whose last requested block is `end`.
    pub(crate) fn falsify(&self, logs: &mut Vec<Log>, end: u64) {
        self.lies.iter().for_each(|lie| lie.apply(logs, end));
    }

    /// Changes the `result` of the answer.
    pub(crate) fn edit(&self, answer: Box<RawValue>) -> Answer {
        if self.edits.is_empty() {
            return Ok(answer);
        }
        let broken = |error: serde_json::Error| RpcError::new(-32603, &error.to_string());
        let mut value = serde_json::from_str(answer.get()).map_err(broken)?;
        self.edits.iter().for_each(|edit| edit.apply(&mut value));
        to_raw_value(&value).map_err(broken)
    }

    /// The id of the answer to a call with this id.
    pub(crate) fn id(&self, called: Value) -> Value {
        if self.wrong_id { Value::from("unknown") } else { called }
    }

    /// Whether the answers of the call's batch are in reverse order.
    pub(crate) fn is_backwards(&self) -> bool {
        self.backwards
    }

    /// The fault of transport.
    pub(crate) fn wire(&self) -> Option<Wire> {
        self.wire.clone()
    }
}
