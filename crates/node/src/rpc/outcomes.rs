//! What came of each call of a request: a batch may be answered and each of its calls refused.

use super::call::RpcCall;
use crate::error::ChainError;

/// The results of the single calls of a request.
pub(super) trait Outcomes {
    /// Why this call was not answered, if the request as a whole was.
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

/// Each call by its method, and why it was not answered if it was not.
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
