//! Makes several calls in one request, where the node accepts batches.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::body::BodyConsumer;
use super::call::{RpcCall, method_of};
use super::streamed_list::StreamedList;
use super::{Body, Rpc};
use crate::error::ChainError;
use crate::limits::RefusalKind;
use crate::wire::{RpcResponse, RpcResponses};

/// An answer that is not parsed yet; `None` where the node answers `null`.
pub(crate) type RawResult = Result<Option<Box<RawValue>>, ChainError>;

impl Rpc {
    /// The known limit of calls in a batch; `None` where none is known.
    pub(crate) fn batch_limit(&self) -> Option<u64> {
        self.batches.cap()
    }

    /// Applies a limit of calls in a batch that an earlier run found.
    pub(crate) fn limit_batch(&self, cap: Option<u64>) {
        self.batches.set_cap(cap);
    }

    /// Maximum number of calls in a request now.
    pub(crate) fn calls_in_request(&self) -> usize {
        self.batches.now()
    }

    /// Whether this number of calls is made at once: in one request, or in concurrent requests.
    pub(crate) fn takes_batch(&self, calls: usize) -> bool {
        self.batches.takes(calls)
    }

    /// Whether this number of calls is one request, which one backend answers.
    pub(crate) fn is_one_request(&self, calls: usize) -> bool {
        self.batches.fits(calls)
    }

    /// Counts calls that belong together and were made one by one. Now and then this allows a batch again.
    pub(crate) fn count_single_calls(&self) {
        self.batches.count_single();
    }

    /// Allows a batch again, unless the node has answered that it accepts none.
    pub(crate) fn try_batches(&self) {
        self.batches.try_again();
    }

    /// Makes calls in as few requests as the node accepts, and returns the answers in the order of the calls. A batch
    /// that fails is repeated in halves, so that the failure of one call does not fail the others.
    ///
    /// # Errors
    /// Why a request failed that smaller batches would not help.
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        calls: &[RpcCall],
    ) -> Result<Vec<Result<Option<T>, ChainError>>, ChainError> {
        let mut answers = Vec::with_capacity(calls.len());
        let mut rest = calls;
        while !rest.is_empty() {
            let most = self.batches.now().min(rest.len());
            if most == 1 {
                if rest.len() > 1 {
                    self.batches.count_single();
                }
                answers.extend(join_all(rest.iter().map(|call| self.ask(call))).await);
                break;
            }
            let (calls, after) = rest.split_at(most);
            match self.paced(calls, self.ask_batch(calls, &mut Vec::new())).await {
                Ok(answered) => {
                    self.batches.answered(most);
                    answers.extend(answered);
                    rest = after;
                }
                Err(error) => self.judge_batch(most, error)?,
            }
        }
        Ok(answers)
    }

    /// Makes calls in one request, and returns the answers in the order of the calls. Elements of the long lists that
    /// calls over ranges return are handed out, as by [`Self::demand_each`]. The answers to those calls contain only
    /// the remaining elements. `None` where the request failed because it was a batch: then the calls are to be made
    /// one by one.
    ///
    /// # Errors
    /// Why the request failed, or why a call over a range was refused.
    pub(crate) async fn ask_with_list<T: DeserializeOwned>(
        &self,
        calls: &[RpcCall],
        mut each: impl FnMut(T) + Send,
    ) -> Result<Option<Vec<RawResult>>, ChainError> {
        let mut came = false;
        let request = async {
            let mut listing = StreamedList::of_batch(&mut each);
            let mut answers = self.ask_batch(calls, &mut listing).await?;
            came = true;
            if let Some(wrong) = listing.wrong() {
                return Err(self.bad(method_of(calls), wrong));
            }
            // Without the list the other answers are of no use.
            let refused =
                calls.iter().zip(&answers).position(|(call, answer)| call.width.is_some() && answer.is_err());
            match refused.map(|index| answers.swap_remove(index)) {
                Some(Err(error)) => Err(error),
                _ => Ok(answers),
            }
        };
        match self.paced(calls, request).await {
            Ok(answers) => {
                self.batches.answered(calls.len());
                Ok(Some(answers))
            }
            // A list that is too large is too large in a request of its own, too.
            Err(error) if came || error.narrows().is_some() => Err(error),
            Err(error) => self.judge_batch(calls.len(), error).map(|()| None),
        }
    }

    /// Records a batch that failed, and returns the error if smaller batches would not help.
    fn judge_batch(&self, calls: usize, error: ChainError) -> Result<(), ChainError> {
        match &error {
            ChainError::Refused { refusal: RefusalKind::Batch(hint), .. } => {
                self.batches.limited(calls, *hint)
            }
            ChainError::Refused {
                refusal:
                    RefusalKind::Unknown
                    | RefusalKind::MethodOff
                    | RefusalKind::Denied
                    | RefusalKind::Size(_)
                    | RefusalKind::Time,
                ..
            }
            | ChainError::BadAnswer { .. }
            | ChainError::TooLarge { .. } => self.batches.failed(calls),
            _ => return Err(error),
        }
        Ok(())
    }

    async fn ask_batch<T: DeserializeOwned>(
        &self,
        calls: &[RpcCall],
        intake: &mut impl BodyConsumer,
    ) -> Result<Vec<Result<Option<T>, ChainError>>, ChainError> {
        let method = method_of(calls);
        let first = self.next_id.fetch_add(calls.len() as u64, Ordering::Relaxed);
        let request: Vec<Value> = calls.iter().zip(first..).map(|(call, id)| call.to_json(id)).collect();
        let body = self.post(calls, Value::from(request).to_string(), intake).await?;
        match serde_json::from_slice::<RpcResponses<T>>(&body.bytes) {
            Ok(RpcResponses::Many(answers)) if body.is_ok() => self.match_up(calls, first, answers, &body),
            Ok(RpcResponses::One(RpcResponse { error: Some(error), .. })) => {
                Err(self.refused_all(calls, &body, Some(error)))
            }
            Ok(RpcResponses::One(_)) if body.is_ok() => {
                Err(self.bad(method, "one answer instead of several"))
            }
            Err(error) if body.is_ok() => Err(self.bad(method, body.why_unread(&error))),
            _ => Err(self.refused_all(calls, &body, None)),
        }
    }

    /// Assigns answers to calls. They come in any order (JSON-RPC 2.0 §6), one for each call.
    fn match_up<T>(
        &self,
        calls: &[RpcCall],
        first: u64,
        answers: Vec<RpcResponse<T>>,
        body: &Body,
    ) -> Result<Vec<Result<Option<T>, ChainError>>, ChainError> {
        let method = method_of(calls);
        if answers.len() != calls.len() {
            return Err(self.bad(method, format!("{} answers to {} calls", answers.len(), calls.len())));
        }
        let mut by_id: HashMap<Option<u64>, RpcResponse<T>> =
            answers.into_iter().map(|answer| (answer.id.as_u64(), answer)).collect();
        let mut matched = Vec::with_capacity(calls.len());
        for (call, id) in calls.iter().zip(first..) {
            let Some(answer) = by_id.remove(&Some(id)) else {
                return Err(self.bad(method, format!("no answer has the id {id}")));
            };
            matched.push(self.read(call, answer, id, body));
        }
        Ok(matched)
    }
}
