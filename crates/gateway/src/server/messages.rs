use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::query::{self, Query};
use super::{Shared, fresh, now};
use crate::feed::{Delivery, Gap, Page, Reason, Start, write_position};
use crate::push::TypePattern;
use chainflume_access::{Principal, Room};
use chainflume_outbox::Position;

/// Every answer says how new it is.
pub(super) const POSITION: HeaderName = HeaderName::from_static("chainflume-position");
/// Messages of one answer.
const MAX_LIMIT: usize = 500;
/// Pages that one request reads: a filter that fits nothing must not read the whole outbox. The answer says where to go on.
const MAX_PAGES: usize = 20;
/// Bytes of messages in one answer.
const MAX_BYTES: usize = 2 << 20;
/// How long one request may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /v1/messages`: the log in order, after a position.
pub(super) async fn messages(
    State(shared): State<Shared>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = shared.settings.auth.of_headers(&headers, now())?;
    let query = Query::parse(text.as_deref(), &["since", "type", "room", "limit", "min_position"])?;
    let asked = MessagesQuery::of(&shared, &principal, &query)?;
    fresh::reached(&shared, &query).await?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked.answer(&shared)).await;
    answer.unwrap_or_else(|_| {
        Err(Problem::new(503, "unavailable", "the database is too slow just now; try again"))
    })
}

struct MessagesQuery {
    since: Option<Position>,
    room: Room,
    of_type: Option<TypePattern>,
    limit: usize,
}

impl MessagesQuery {
    fn of(shared: &Shared, principal: &Principal, query: &Query) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(400, "bad_query", detail);
        let of_type = query.get("type").map(TypePattern::parse).transpose();
        let limit = query.get("limit").map_or(Some(100), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        // Every message is in the room `all`, which opens the whole log.
        let room = query::rooms(
            std::iter::once(query.get("room").unwrap_or("all")),
            principal,
            &shared.settings.public_rooms,
        )?;
        Ok(Self {
            since: query.since()?,
            room: room.into_iter().next().ok_or_else(Problem::forbidden)?,
            of_type: of_type.map_err(|error| bad(format!("type {error}")))?,
            limit: limit.ok_or_else(|| bad(format!("limit is a number from 1 to {MAX_LIMIT}")))?,
        })
    }

    async fn answer(self, shared: &Shared) -> Result<Response, Problem> {
        let (from, mut gap) = self.start(shared).await?;
        let mut page = Page::before(&shared.feed, from);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for _ in 0..MAX_PAGES {
            let before = page.next.clone();
            let read = shared.feed.after(&page, std::slice::from_ref(&self.room)).await;
            page = read.map_err(|error| Problem::of_store(&error))?;
            gap = gap.or(page.gap.take().filter(|_| self.since.is_some()));
            for delivery in page.deliveries.drain(..).filter(|delivery| self.wants(delivery)) {
                if found.len() == self.limit || bytes > MAX_BYTES {
                    break;
                }
                bytes += delivery.bytes();
                found.push(delivery);
            }
            if found.len() == self.limit || bytes > MAX_BYTES {
                let last = found.last().map(|last| &last.entry);
                page.next = last
                    .map_or(page.next, |last| Position { seq: last.seq, epoch: Some(last.epoch.clone()) });
                break;
            }
            if page.next == before || page.next.seq >= shared.feed.newest().seq {
                break;
            }
        }
        Ok(response(&found, &page.next, (&shared.feed.newest(), gap)))
    }

    async fn start(&self, shared: &Shared) -> Result<(Position, Option<Gap>), Problem> {
        let Some(since) = self.since.clone() else { return Ok((Position::default(), None)) };
        match shared.feed.start(since).await.map_err(|error| Problem::of_store(&error))? {
            Start::After(position) => Ok((position, None)),
            Start::Gap(gap) if gap.reason == Reason::Retention => {
                Ok((Position { seq: gap.to.seq, epoch: None }, Some(gap)))
            }
            Start::Gap(_) => {
                let detail = "the position is of another history of the database; begin without since";
                Err(Problem::new(409, "epoch_mismatch", detail))
            }
            Start::Ahead => {
                Err(Problem::new(400, "position_ahead", "the position is ahead of every message"))
            }
        }
    }

    fn wants(&self, delivery: &Delivery) -> bool {
        self.of_type.as_ref().is_none_or(|wanted| wanted.names(&delivery.entry.message_type))
    }
}

/// The messages as they are stored, each the text that every other receiver gets.
fn response(found: &[Delivery], next: &Position, (newest, gap): (&Position, Option<Gap>)) -> Response {
    let messages = found.iter().map(|delivery| delivery.entry.json.as_str()).collect::<Vec<_>>().join(",");
    let (next, newest) = (write_position(next), write_position(newest));
    let gap = gap.map(|gap| format!(",\"gap\":{}", gap.to_json())).unwrap_or_default();
    let body = format!("{{\"messages\":[{messages}],\"next\":\"{next}\",\"position\":\"{newest}\"{gap}}}");
    ([(header::CONTENT_TYPE, "application/json"), (POSITION, newest.as_str())], body).into_response()
}
