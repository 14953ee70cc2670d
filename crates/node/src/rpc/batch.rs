//! Several calls in one request, where the node takes them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::body::BodyConsumer;
use super::call::{RpcCall, lead};
use super::streamed_list::StreamedList;
use super::{Body, Rpc};
use crate::error::ChainError;
use crate::limits::RefusalKind;
use crate::wire::{RpcResponse, RpcResponses};

/// An answer before it is known what it should be; `None` where the node answers `null`.
pub(crate) type RawResult = Result<Option<Box<RawValue>>, ChainError>;

impl Rpc {
    /// The limit of batches; `None` where none is known.
    pub(crate) fn batch_limit(&self) -> Option<u64> {
        self.batches.cap()
    }

    /// Uses a limit of batches that an earlier run found.
    pub(crate) fn limit_batch(&self, cap: Option<u64>) {
        self.batches.set_cap(cap);
    }

    /// Calls that one request has at most.
    pub(crate) fn calls_in_request(&self) -> usize {
        self.batches.now()
    }

    /// Whether so many calls are asked at one moment.
    pub(crate) fn takes_batch(&self, calls: usize) -> bool {
        self.batches.takes(calls)
    }

    /// Whether so many calls are one request, which one backend answers.
    pub(crate) fn is_one_request(&self, calls: usize) -> bool {
        self.batches.fits(calls)
    }

    /// Counts calls that belong together and are asked one by one: now and then a batch is tried again.
    pub(crate) fn count_asked_alone(&self) {
        self.batches.alone();
    }

    /// Lets the next calls that belong together be a batch again, unless the node has answered that it takes none.
    pub(crate) fn try_batches(&self) {
        self.batches.try_again();
    }

    /// The answers in the order of the questions, in as few requests as the node takes. A batch that is not
    /// answered as one is asked in halves, so that what remains of a failure is the failure of one call.
    ///
    /// # Errors
    /// Why the node cannot be asked just now.
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        questions: &[RpcCall],
    ) -> Result<Vec<Result<Option<T>, ChainError>>, ChainError> {
        let mut answers = Vec::with_capacity(questions.len());
        let mut rest = questions;
        while !rest.is_empty() {
            let most = self.batches.now().min(rest.len());
            if most == 1 {
                if rest.len() > 1 {
                    self.batches.alone();
                }
                answers.extend(join_all(rest.iter().map(|question| self.ask(question))).await);
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

    /// The answers to calls that are one request, in the order of the questions. Some of them are over ranges, for lists
    /// that may be long: their elements are handed out as [`Self::demand_each`] does, and what is left of them is among the
    /// answers. `None` where the request failed for being several calls, so that each is to be asked by itself.
    ///
    /// # Errors
    /// Why the node cannot be asked, or why it refused the list.
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
                return Err(self.bad(lead(calls), wrong));
            }
            // Without the list the rest is of no use, and a refusal because of the rate must be returned.
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
            // What is too much for an answer is too much by itself, too.
            Err(error) if came || error.narrows().is_some() => Err(error),
            Err(error) => self.judge_batch(calls.len(), error).map(|()| None),
        }
    }

    /// Whether a batch that failed is worth to be asked in parts.
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
        let method = lead(calls);
        let first = self.next_id.fetch_add(calls.len() as u64, Ordering::Relaxed);
        let request: Vec<Value> = calls.iter().zip(first..).map(|(call, id)| call.call(id)).collect();
        let body = self.post((calls, Value::from(request).to_string()), intake).await?;
        match serde_json::from_slice::<RpcResponses<T>>(&body.bytes) {
            Ok(RpcResponses::Many(answers)) if body.is_ok() => self.match_up(calls, first, answers, &body),
            Ok(RpcResponses::One(RpcResponse { error: Some(error), .. })) => {
                Err(self.refused_all(calls, &body, Some(error)))
            }
            Ok(RpcResponses::One(_)) if body.is_ok() => {
                Err(self.bad(method, "one answer where there should be several"))
            }
            Err(error) if body.is_ok() => Err(self.bad(method, body.why_unread(&error))),
            _ => Err(self.refused_all(calls, &body, None)),
        }
    }

    /// Answers come in any order (JSON-RPC 2.0 §6); each call has exactly one.
    fn match_up<T>(
        &self,
        calls: &[RpcCall],
        first: u64,
        answers: Vec<RpcResponse<T>>,
        body: &Body,
    ) -> Result<Vec<Result<Option<T>, ChainError>>, ChainError> {
        let method = lead(calls);
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
