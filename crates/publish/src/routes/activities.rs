mod page;
mod schemas;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::caller::{NewId as _, source, unavailable};
use crate::activities::{
    Activity, ActivityChange, ActivityError, ActivityFilter, ActivityStatus, ActivityTransaction, ChangedBy,
    MAX_DESCRIPTION, MAX_TITLE, NewActivity, texts,
};
use crate::events::user_id;
use crate::users::may_read_user;
use crate::{Changed, Publisher, Settings};
use chainflume_api::access::{Principal, Scope};
use chainflume_api::routes::{
    ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, Refusal, RouteAccess, handler, object,
};
use chainflume_core::domain::B256;
use page::{CHANGES, LIST, is_full, limit};
pub(super) use schemas::schemas;

const ALL: &str = "/v1/activities";
const ONE: &str = "/v1/activities/{eventId}";

pub(super) fn routes(publisher: &Publisher) -> Vec<OfferedRoute> {
    let route = |method, path, summary, body, handler| OfferedRoute {
        method,
        path,
        summary,
        query: &[],
        answers: &[(200, "Activity")],
        body,
        errors: if method == ApiMethod::Get { &[404] } else { &[404, 409] },
        access: RouteAccess::Caller,
        handler,
    };
    let (post, get, patch) = (ApiMethod::Post, ApiMethod::Get, ApiMethod::Patch);
    let create = route(
        post,
        ALL,
        "Begin an activity of a user; scope publish",
        Some("NewActivity"),
        handler(publisher, create),
    );
    let list = route(get, ALL, "Read activities, the newest first", None, handler(publisher, list));
    let by_user =
        "Refuses: an activity is changed by its id alone, since a user may have several of one type";
    let by_user = route(patch, ALL, by_user, None, handler(publisher, by_id_only));
    let changes = route(
        get,
        "/v1/activities/{eventId}/changes",
        "Read the changes of an activity, the oldest first",
        None,
        handler(publisher, changes),
    );
    vec![
        OfferedRoute { answers: &[(201, "CreatedActivity")], errors: &[], ..create },
        OfferedRoute { query: LIST, answers: &[(200, "Activities")], errors: &[], ..list },
        OfferedRoute { query: LIST.split_at(3).0, answers: &[], errors: &[], ..by_user },
        route(get, ONE, "Read an activity", None, handler(publisher, read)),
        route(
            patch,
            ONE,
            "Change an activity; data is merged; scope publish",
            Some("ActivityChange"),
            handler(publisher, change),
        ),
        route(
            post,
            "/v1/activities/{eventId}/complete",
            "Complete an activity for good; scope publish",
            Some("ActivityEnd"),
            handler(publisher, complete),
        ),
        route(
            post,
            "/v1/activities/{eventId}/fail",
            "Fail an activity for good; scope publish",
            Some("ActivityEnd"),
            handler(publisher, fail),
        ),
        OfferedRoute { query: CHANGES, answers: &[(200, "ActivityChanges")], ..changes },
    ]
}

const STATUSES: &[&str] = &[
    ActivityStatus::Pending.as_str(),
    ActivityStatus::InProgress.as_str(),
    ActivityStatus::Completed.as_str(),
    ActivityStatus::Failed.as_str(),
];

async fn create(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let caller = request.caller_with(Scope::Publish)?;
    let known = ["userId", "type", "title", "status", "description", "data", "transaction"];
    let mut fields = object(request.json()?, &known, "")?;
    let settings = &publisher.0.settings;
    let change = read_change(&mut fields, settings)?;
    let missing = |name: &str| Refusal::bad_body(format!("{name} is missing")).at(format!("/{name}"));
    let user = text(&mut fields, "userId", 255)?.ok_or_else(|| missing("userId"))?;
    user_id(&user).map_err(|refusal| refusal.at("/userId"))?;
    let name = text(&mut fields, "type", 64)?.ok_or_else(|| missing("type"))?;
    if !settings.activity_types.contains(&name) {
        let types = settings.activity_types.join(", ");
        let detail = format!("types of activities here: {types}; add others to [activity] types");
        return Err(Refusal::new(400, "unknown_activity_type", detail).at("/type"));
    }
    let id = request.new_id(caller, 0);
    let mut new = NewActivity {
        id,
        user_id: user,
        activity_type: name,
        status: change.status.unwrap_or(ActivityStatus::Pending),
        title: change.title.clone().unwrap_or_default(),
        description: change.description.clone(),
        data: change.data.clone().unwrap_or_default(),
        transaction: change.transaction,
    };
    let (title, description) = texts(&settings.activity_texts, &new, &change);
    new.title = title.or(change.title).ok_or_else(|| missing("title"))?;
    new.description = description.or(new.description);
    let position = publisher.create_activity(new, &by(caller)).await.map_err(refused)?;
    let position = position.map(|at| at.to_string());
    Ok(ApiAnswer::new(201, &json!({ "eventId": id.to_string() })).at(position))
}

async fn change(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let mut fields = match request.json()? {
        Value::Object(fields) => fields,
        _ => {
            return Err(Refusal::bad_body(
                "send an object with status, title, description, data or transaction",
            ));
        }
    };
    if let Some(name) =
        ["userId", "type", "eventId", "createdAt"].iter().find(|name| fields.contains_key(**name))
    {
        let detail =
            format!("{name} never changes; an activity is addressed by its eventId in the path alone");
        return Err(Refusal::new(400, "immutable_field", detail).at(format!("/{name}")));
    }
    let known = ["status", "title", "description", "data", "transaction"];
    fields = object(Value::Object(fields), &known, "")?;
    let change = read_change(&mut fields, &publisher.0.settings)?;
    apply(&publisher, &request, change).await
}

async fn complete(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    end(publisher, request, ActivityStatus::Completed).await
}

async fn fail(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    end(publisher, request, ActivityStatus::Failed).await
}

async fn end(
    publisher: Publisher,
    request: ApiRequest,
    status: ActivityStatus,
) -> Result<ApiAnswer, Refusal> {
    let sent = if request.body.is_empty() { json!({}) } else { request.json()? };
    let mut fields = object(sent, &["title", "description", "data"], "")?;
    let change = read_change(&mut fields, &publisher.0.settings)?;
    apply(&publisher, &request, ActivityChange { status: Some(status), ..change }).await
}

async fn apply(
    publisher: &Publisher,
    request: &ApiRequest,
    change: ActivityChange,
) -> Result<ApiAnswer, Refusal> {
    let (by, id) = (by(request.caller_with(Scope::Publish)?), id(request)?);
    let changed = publisher.change_activity(id, &change, &by).await;
    let Changed { activity, position } = match changed {
        Err(ActivityError::Refused(why)) if request.is_repeat => {
            let made = publisher.activity(id).await.map_err(unavailable)?;
            let activity = made.filter(|activity| activity.has(&change));
            Changed { activity: activity.ok_or_else(|| refused(why.into()))?, position: None }
        }
        changed => changed.map_err(refused)?,
    };
    Ok(ApiAnswer::new(200, &activity.to_json()).at(position.map(|at| at.to_string())))
}

async fn by_id_only(_: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    request.caller_with(Scope::Publish)?;
    let detail = "an activity is changed by its id: keep the eventId that POST /v1/activities answered and send PATCH \
                  /v1/activities/<eventId>; GET /v1/activities?userId=…&type=… finds it";
    Err(Refusal::new(400, "update_by_id_only", detail))
}

async fn read(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    Ok(ApiAnswer::new(200, &readable(&publisher, &request).await?.to_json()))
}

async fn changes(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let activity = readable(&publisher, &request).await?;
    // A number beyond the last change would look like the end of the list.
    let after = request.query("after").map_or(Some(0), |text| {
        text.parse().ok().filter(|after| (1..=activity.changes).contains(&u64::try_from(*after).unwrap_or(0)))
    });
    let after =
        after.ok_or_else(|| Refusal::bad_query("after is the number of a change of this activity"))?;
    let limit = limit(&request)?;
    let changes = publisher.activity_changes(activity.now.id, after, limit).await.map_err(unavailable)?;
    let next = changes.last().filter(|_| is_full(&changes, limit)).map(|last| last["number"].clone());
    Ok(ApiAnswer::new(200, &json!({ "changes": changes, "next": next })))
}

/// The activity of a request. Whose it is decides who may read it; to others there is none.
async fn readable(publisher: &Publisher, request: &ApiRequest) -> Result<Activity, Refusal> {
    let none = || Refusal::not_found("activity");
    let found = publisher.activity(id(request)?).await.map_err(unavailable)?.ok_or_else(none)?;
    let reads =
        may_read_user(&publisher.0.pool, request.caller()?, &found.now.user_id).await.map_err(unavailable)?;
    reads.then_some(found).ok_or_else(none)
}

async fn list(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let user_id = request.query("userId");
    // A back end that lost the id of its user must not get the activities of all.
    if user_id.is_none() && request.query.contains_key("userId") {
        return Err(Refusal::bad_query("userId is empty; leave it out for the activities of all users"));
    }
    let may_read = match user_id {
        Some(user) => may_read_user(&publisher.0.pool, request.caller()?, user).await.map_err(unavailable)?,
        None => match request.caller()? {
            Principal::Local => true,
            Principal::Service(service) => service.scopes.has(Scope::Read),
            Principal::User(_) => false,
        },
    };
    if !may_read {
        return Err(Refusal::forbidden());
    }
    let status = request.query("status").map(|word| ActivityStatus::from_word(word).ok_or_else(bad_status));
    // A person with several ids has activities under each.
    let ids = match user_id {
        Some(user) => {
            publisher.ids_of(user).await.map_err(unavailable)?.unwrap_or_else(|| vec![user.to_owned()])
        }
        None => Vec::new(),
    };
    let before = before(&publisher, &request, &ids).await?;
    let filter = ActivityFilter {
        user_ids: &ids,
        activity_type: request.query("type"),
        status: status.transpose()?,
        before,
        limit: limit(&request)?,
    };
    let found = publisher.activities(&filter).await.map_err(unavailable)?;
    let next = found.last().filter(|_| is_full(&found, filter.limit)).map(|last| last.now.id.to_string());
    let found: Vec<Value> = found.iter().map(crate::Activity::to_json).collect();
    Ok(ApiAnswer::new(200, &json!({ "activities": found, "next": next })))
}

/// The activity of these users, or of any where none is named, with which the page before ended. An id of none would look like the end
/// of the list.
async fn before(
    publisher: &Publisher,
    request: &ApiRequest,
    user_ids: &[String],
) -> Result<Option<Uuid>, Refusal> {
    let Some(text) = request.query("before") else { return Ok(None) };
    let none = || Refusal::bad_query("before is the eventId of an activity");
    let id = Uuid::try_parse(text).map_err(|_| none())?;
    let known = publisher.activity(id).await.map_err(unavailable)?;
    let is_listed = known.is_some_and(|known| user_ids.is_empty() || user_ids.contains(&known.now.user_id));
    if is_listed { Ok(Some(id)) } else { Err(none()) }
}

fn read_change(fields: &mut Map<String, Value>, settings: &Settings) -> Result<ActivityChange, Refusal> {
    let status = text(fields, "status", 20)?;
    let status =
        status.map(|word| ActivityStatus::from_word(&word).ok_or_else(|| bad_status().at("/status")));
    let data = match fields.remove("data") {
        None | Some(Value::Null) => None,
        Some(Value::Object(data)) => Some(data),
        Some(_) => return Err(Refusal::bad_body("data is an object").at("/data")),
    };
    let transaction = match fields.remove("transaction") {
        None | Some(Value::Null) => None,
        Some(value) => Some(transaction(value, settings)?),
    };
    Ok(ActivityChange {
        status: status.transpose()?,
        title: text(fields, "title", MAX_TITLE)?,
        description: text(fields, "description", MAX_DESCRIPTION)?,
        data,
        transaction,
    })
}

fn transaction(value: Value, settings: &Settings) -> Result<ActivityTransaction, Refusal> {
    let fields = object(value, &["chainId", "hash"], "/transaction")?;
    let chain_id = fields.get("chainId").and_then(Value::as_u64);
    let chain_id = chain_id.filter(|id| settings.chains.contains(id)).ok_or_else(|| {
        let chains = settings.chains.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let detail = format!("chainId is the number of a chain that is followed here: {chains}");
        Refusal::new(400, "unknown_chain", detail).at("/transaction/chainId")
    })?;
    let hash = fields.get("hash").and_then(Value::as_str).filter(|text| text.starts_with("0x"));
    let hash = hash.and_then(|text| text.parse::<B256>().ok()).ok_or_else(|| {
        let detail = "hash is 0x and 64 hexadecimal digits";
        Refusal::new(400, "bad_hash", detail).at("/transaction/hash")
    })?;
    Ok(ActivityTransaction { chain_id, hash })
}

fn text(fields: &mut Map<String, Value>, name: &str, most: usize) -> Result<Option<String>, Refusal> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.chars().count() <= most => Ok(Some(text)),
        Some(_) => {
            let detail = format!("{name} is a text of 1 to {most} characters");
            Err(Refusal::bad_body(detail).at(format!("/{name}")))
        }
    }
}

fn bad_status() -> Refusal {
    let words = STATUSES.join(", ");
    Refusal::new(400, "bad_status", format!("a status is one of {words}"))
}

fn id(request: &ApiRequest) -> Result<Uuid, Refusal> {
    Uuid::try_parse(request.parameter("eventId")).map_err(|_| Refusal::not_found("activity"))
}

fn by(caller: &Principal) -> ChangedBy {
    ChangedBy::Caller(source(caller))
}

fn refused(error: ActivityError) -> Refusal {
    match error {
        ActivityError::Unknown => Refusal::not_found("activity"),
        ActivityError::Refused(refused) => {
            let code = match refused {
                crate::ChangeRefused::Final(_) => "activity_final",
                crate::ChangeRefused::Transition(..) => "wrong_transition",
                crate::ChangeRefused::OtherTransaction => "other_transaction",
            };
            Refusal::new(409, code, format!("{refused}; begin another activity"))
        }
        ActivityError::TooLarge(_) => Refusal::new(
            413,
            "payload_too_large",
            "the data of an activity is larger than [publish] payload_bytes",
        )
        .at("/data"),
        ActivityError::Store(error) => unavailable(error),
    }
}
