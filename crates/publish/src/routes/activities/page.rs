use super::STATUSES;
use chainflume_api::routes::{ApiRequest, ParameterValues, QueryParameter, Refusal};

/// Activities, or changes of one, of a page at most.
const MAX_LIMIT: i64 = 200;
/// Those of a page where the caller names no number.
const LIMIT: i64 = 50;

pub(super) const LIST: &[QueryParameter] = &[
    QueryParameter::text(
        "userId",
        "only those of this user; callers without the scope read have to name themselves",
    ),
    QueryParameter::text("type", "only those of this type"),
    QueryParameter::new("status", "only those with this status", ParameterValues::Words(STATUSES)),
    QueryParameter::new(
        "before",
        "only those older than the activity of this eventId",
        ParameterValues::Uuid,
    ),
    QueryParameter::new(
        "limit",
        "activities of a page; 50 by default",
        ParameterValues::UpTo(MAX_LIMIT.unsigned_abs()),
    ),
];

pub(super) const CHANGES: &[QueryParameter] = &[
    QueryParameter::new(
        "after",
        "only those after the change of this number",
        ParameterValues::UpTo(i64::MAX.unsigned_abs()),
    ),
    QueryParameter::new(
        "limit",
        "changes of a page; 50 by default",
        ParameterValues::UpTo(MAX_LIMIT.unsigned_abs()),
    ),
];

/// How many things a page has at most.
pub(super) fn limit(request: &ApiRequest) -> Result<i64, Refusal> {
    let limit = request.query("limit").map_or(Some(LIMIT), |text| text.parse().ok());
    let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Refusal::bad_query(format!("limit is a number from 1 to {MAX_LIMIT}")))
}

/// Whether there may be another page.
pub(super) fn is_full<T>(page: &[T], limit: i64) -> bool {
    i64::try_from(page.len()).is_ok_and(|count| count == limit)
}
