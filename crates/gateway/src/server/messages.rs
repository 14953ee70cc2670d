use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::problem::HttpProblem;
use super::query::{self, Query};
use super::{Shared, fresh, now};
use crate::feed::{Delivery, Gap, Page, Reason, Start};
use chainflume_api::access::{Principal, Room, is_kind};
use chainflume_core::domain::TypePattern;
use chainflume_outbox::Position;

/// Every answer has the position at which it was read.
pub(super) const POSITION: HeaderName = HeaderName::from_static("chainflume-position");
/// Messages of one answer.
const MAX_LIMIT: usize = 500;
/// Pages that one request reads: a filter that fits nothing must not read the whole outbox. The answer has the position to go on from.
const MAX_PAGES: usize = 20;
/// Bytes of messages in one answer.
const MAX_BYTES: usize = 2 << 20;
/// How long one request may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /v1/messages`: the log in order, after a position.
pub(super) async fn messages(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let principal = shared.settings.auth.of_headers(&headers, now())?;
    let query = Query::parse(
        text.as_deref(),
        &["since", "type", "aggregate", "user", "room", "limit", "min_position"],
    )?;
    let asked = MessagesQuery::of(&shared, &principal, &query)?;
    fresh::reached(&shared, &query).await?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked.answer(&shared)).await;
    answer.unwrap_or_else(|_| {
        Err(HttpProblem::new(503, "unavailable", "the database is too slow just now; try again"))
    })
}

struct MessagesQuery {
    since: Option<Position>,
    /// The room that is read.
    room: Room,
    /// The message is in these too.
    others: Vec<Room>,
    /// What kind of thing it is about.
    aggregate_type: Option<String>,
    of_type: Option<TypePattern>,
    limit: usize,
}

impl MessagesQuery {
    fn of(shared: &Shared, principal: &Principal, query: &Query) -> Result<Self, HttpProblem> {
        let bad = |detail: String| HttpProblem::new(400, "bad_query", detail);
        let of_type = query.get("type").map(TypePattern::parse).transpose();
        let limit = query.get("limit").map_or(Some(100), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        let user = query.get("user").map(|id| format!("user-{id}"));
        let (aggregate_type, aggregate) = query.get("aggregate").map_or((None, None), aggregate);
        if !aggregate_type.as_deref().is_none_or(is_kind) {
            return Err(bad(
                "aggregate is a kind of subject like order, or a subject like order-9".to_owned()
            ));
        }
        // Every message is in the room `all`, which opens the whole log.
        let room = query.get("room").map(str::to_owned);
        let named: Vec<String> = [room, user, aggregate].into_iter().flatten().collect();
        let named = if named.is_empty() { vec!["all".to_owned()] } else { named };
        let rooms = query::rooms(
            named.iter().map(String::as_str),
            principal,
            &shared.settings.listener.public_rooms,
        )?;
        let (room, others) = rooms.split_first().ok_or_else(HttpProblem::forbidden)?;
        Ok(Self {
            since: query.since()?,
            room: room.clone(),
            others: others.to_vec(),
            aggregate_type,
            of_type: of_type.map_err(|error| bad(format!("type {error}")))?,
            limit: limit.ok_or_else(|| bad(format!("limit is a number from 1 to {MAX_LIMIT}")))?,
        })
    }

    async fn answer(self, shared: &Shared) -> Result<Response, HttpProblem> {
        let (from, mut gap) = self.start(shared).await?;
        let mut page = Page::before(&shared.feed, from);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for _ in 0..MAX_PAGES {
            let before = page.next.position.clone();
            let read = shared.feed.after(&page, std::slice::from_ref(&self.room)).await;
            page = read.map_err(|error| HttpProblem::of_store(&error))?;
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
                if let Some(last) = last {
                    page.next.position = Position { seq: last.seq, epoch: Some(last.epoch.clone()) };
                }
                break;
            }
            if page.next.position == before || page.next.position.seq >= shared.feed.newest().seq {
                break;
            }
        }
        Ok(response(&found, &page.next.position, &shared.feed.newest(), gap))
    }

    async fn start(&self, shared: &Shared) -> Result<(Position, Option<Gap>), HttpProblem> {
        let Some(since) = self.since.clone() else { return Ok((Position::default(), None)) };
        match shared.feed.start(since).await.map_err(|error| HttpProblem::of_store(&error))? {
            Start::After(position) => Ok((position, None)),
            Start::Gap(gap) if gap.reason == Reason::Retention => {
                Ok((Position { seq: gap.to.seq, epoch: None }, Some(gap)))
            }
            Start::Gap(_) => {
                let detail = "the position is of another history of the database; begin without since";
                Err(HttpProblem::new(409, "epoch_mismatch", detail))
            }
            Start::Ahead => {
                Err(HttpProblem::new(400, "position_ahead", "the position is ahead of every message"))
            }
        }
    }

    fn wants(&self, delivery: &Delivery) -> bool {
        let entry = &delivery.entry;
        let is_in = |room: &Room| entry.rooms.iter().any(|there| there.room == *room);
        self.of_type.as_ref().is_none_or(|wanted| wanted.names(&entry.message_type))
            && self.others.iter().all(is_in)
            && self.aggregate_type.as_ref().is_none_or(|wanted| {
                let about = serde_json::from_str::<AggregateOf>(&entry.json);
                about.is_ok_and(|about| about.aggregate_type == *wanted)
            })
    }
}

/// The part of a message that names its subject.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregateOf {
    aggregate_type: String,
}

/// The kind in `order` or `order-7`, and the room of the second. Contracts of every kind have rooms of one kind.
fn aggregate(text: &str) -> (Option<String>, Option<String>) {
    match text.split_once('-') {
        None => (Some(text.to_owned()), None),
        Some((kind @ ("token" | "nft"), id)) => (Some(kind.to_owned()), Some(format!("contract-{id}"))),
        Some((kind, _)) => (Some(kind.to_owned()), Some(text.to_owned())),
    }
}

/// The messages as they are stored, each the text that every other receiver gets.
fn response(found: &[Delivery], next: &Position, newest: &Position, gap: Option<Gap>) -> Response {
    let messages = found.iter().map(|delivery| delivery.entry.json.as_str()).collect::<Vec<_>>().join(",");
    let (next, newest) = (next.to_string(), newest.to_string());
    let gap = gap.map(|gap| format!(",\"gap\":{}", gap.to_json())).unwrap_or_default();
    let body = format!("{{\"messages\":[{messages}],\"next\":\"{next}\",\"position\":\"{newest}\"{gap}}}");
    ([(header::CONTENT_TYPE, "application/json"), (POSITION, newest.as_str())], body).into_response()
}
