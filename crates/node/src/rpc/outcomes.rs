//! The result of each call of a request: a batch may be answered and each of its calls refused.

use super::call::RpcCall;
use crate::error::ChainError;

/// The results of the single calls of a request.
pub(super) trait Outcomes {
    /// Why this call failed although the request was answered.
    fn error_of(&self, _call: usize) -> Option<&ChainError> {
        None
    }
}

impl<T> Outcomes for Option<T> {}

impl<T> Outcomes for Vec<Result<T, ChainError>> {
    fn error_of(&self, call: usize) -> Option<&ChainError> {
        self.get(call)?.as_ref().err()
    }
}

/// The method of each call, and its error if it failed.
pub(super) fn outcomes<'a, T: Outcomes>(
    calls: &'a [RpcCall],
    answer: &'a Result<T, ChainError>,
) -> impl Iterator<Item = (&'static str, Option<&'a ChainError>)> {
    calls.iter().enumerate().map(move |(index, call)| {
        let error = match answer {
            Ok(answer) => answer.error_of(index),
            Err(error) => Some(error),
        };
        (call.method, error)
    })
}
