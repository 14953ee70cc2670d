use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::caller::{source, unavailable};
use crate::events::user_id;
use crate::users::{MAX_OF_PERSON, may_read_record, may_write_record};
use crate::{Publisher, UserChanges, UserDevice, UserError};
use chainflume_api::access::Scope;
use chainflume_api::routes::{
    ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, Refusal, RouteAccess, handler, object,
};
use chainflume_core::domain::Address;

/// Bytes of the token of a device at most: a subscription of Web Push is JSON of some hundred.
const MAX_TOKEN: usize = 4_096;

pub(super) fn routes(publisher: &Publisher) -> Vec<OfferedRoute> {
    let route = |method, summary, handler| OfferedRoute {
        method,
        path: "/v1/users/{id}",
        summary,
        query: &[],
        answers: &[(200, "User")],
        body: None,
        errors: &[404],
        access: RouteAccess::Caller,
        handler,
    };
    let put_summary = "Write a person's contacts, devices and wallets; fields left out stay; scope publish, or the person without wallets";
    let erase_summary = "Erase a person's contacts, devices and links; facts stay; scope publish";
    vec![
        OfferedRoute {
            answers: &[(200, "User"), (201, "User")],
            body: Some("UserChanges"),
            errors: &[409],
            ..route(ApiMethod::Put, put_summary, handler(publisher, put))
        },
        route(
            ApiMethod::Get,
            "Read a person, with the chain's record of each wallet",
            handler(publisher, get),
        ),
        OfferedRoute {
            answers: &[(200, "ErasedUser")],
            ..route(ApiMethod::Delete, erase_summary, handler(publisher, erase))
        },
    ]
}

fn id(request: &ApiRequest) -> Result<&str, Refusal> {
    let id = request.parameter("id");
    user_id(id).map(|()| id)
}

async fn put(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let (caller, id) = (request.caller()?, id(&request)?);
    if !may_write_record(&publisher.0.pool, caller, id).await.map_err(unavailable)? {
        return Err(Refusal::forbidden());
    }
    let mut fields =
        object(request.json()?, &["wallets", "email", "phone", "locale", "zone", "devices"], "")?;
    // A wallet opens rooms, so its link is for the application to prove.
    if fields.contains_key("wallets") && !caller.has(Scope::Publish) {
        let detail = "a wallet is linked by the application's back end, with the scope publish";
        return Err(Refusal::new(403, "forbidden", detail).at("/wallets"));
    }
    let changes = changes(&mut fields)?;
    let written = publisher.put_user(id, &changes, &source(caller)).await.map_err(refused)?;
    let user = publisher.user(&written.id).await.map_err(unavailable)?;
    let answer = ApiAnswer::new(if written.is_new { 201 } else { 200 }, &user.unwrap_or_default());
    Ok(answer.at(written.position.map(|at| at.to_string())))
}

/// By any id of the person: the application's own, that of a wallet's record, or a wallet.
async fn get(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let (caller, id) = (request.caller()?, id(&request)?);
    if !may_read_record(&publisher.0.pool, caller, id).await.map_err(unavailable)? {
        return Err(Refusal::forbidden());
    }
    let ids = publisher.ids_of(id).await.map_err(unavailable)?.unwrap_or_default();
    let user = match ids.first() {
        Some(own) => publisher.user(own).await.map_err(unavailable)?,
        None => None,
    };
    Ok(ApiAnswer::new(200, &user.ok_or_else(|| Refusal::not_found("user"))?))
}

async fn erase(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let (caller, id) = (request.caller_with(Scope::Publish)?, id(&request)?);
    let erased = publisher.erase_user(id, &source(caller)).await.map_err(unavailable)?;
    if erased.is_none() && !request.is_repeat {
        return Err(Refusal::not_found("user"));
    }
    let position = erased.map(|position| position.to_string());
    Ok(ApiAnswer::new(200, &json!({ "id": id, "erased": true })).at(position))
}

fn refused(error: UserError) -> Refusal {
    match error {
        UserError::TooLarge => {
            Refusal::new(409, "user_too_large", format!("{error}; take away some first")).at("/wallets")
        }
        UserError::Store(error) => unavailable(error),
    }
}

fn changes(fields: &mut Map<String, Value>) -> Result<UserChanges, Refusal> {
    Ok(UserChanges {
        email: text(fields, "email", is_email, "an address like ada@example.org")?,
        phone: text(fields, "phone", is_phone, "a number of E.164 like +4915112345678")?,
        locale: text(fields, "locale", is_locale, "a tag of BCP 47 like de-DE")?,
        zone: text(fields, "zone", is_zone, "an IANA time zone like Europe/Berlin")?,
        wallets: fields.remove("wallets").map(wallets).transpose()?,
        devices: fields.remove("devices").map(devices).transpose()?,
    })
}

fn text(
    fields: &mut Map<String, Value>,
    name: &str,
    fits: fn(&str) -> bool,
    what: &str,
) -> Result<Option<Option<String>>, Refusal> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if fits(&text) => Ok(Some(Some(text))),
        Some(_) => {
            Err(Refusal::new(400, "bad_contact", format!("{name} is {what}, or null")).at(format!("/{name}")))
        }
    }
}

fn wallets(value: Value) -> Result<Vec<Address>, Refusal> {
    let bad = |place: String| {
        let detail =
            format!("wallets is an array of at most {MAX_OF_PERSON} addresses, 0x and 40 hexadecimal digits");
        Refusal::new(400, "bad_wallet", detail).at(place)
    };
    let Value::Array(values) = value else { return Err(bad("/wallets".to_owned())) };
    if values.len() > MAX_OF_PERSON {
        return Err(bad("/wallets".to_owned()));
    }
    let read = |(index, value): (usize, &Value)| {
        let text = value.as_str().filter(|text| text.starts_with("0x"));
        text.and_then(|text| text.parse().ok()).ok_or_else(|| bad(format!("/wallets/{index}")))
    };
    values.iter().enumerate().map(read).collect()
}

fn devices(value: Value) -> Result<Vec<UserDevice>, Refusal> {
    let bad = |place: String| {
        let detail =
            format!("devices is an array of at most {MAX_OF_PERSON} objects with kind (a word) and token");
        Refusal::new(400, "bad_device", detail).at(place)
    };
    let Value::Array(values) = value else { return Err(bad("/devices".to_owned())) };
    if values.len() > MAX_OF_PERSON {
        return Err(bad("/devices".to_owned()));
    }
    let read = |(index, value): (usize, Value)| {
        let place = format!("/devices/{index}");
        let fields = object(value, &["kind", "token"], &place)?;
        let part = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, token) = (part("kind"), part("token"));
        let is_word = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if kind.is_empty()
            || kind.len() > 32
            || !is_word(&kind)
            || token.is_empty()
            || token.len() > MAX_TOKEN
        {
            return Err(bad(place));
        }
        Ok(UserDevice { kind, token })
    };
    values.into_iter().enumerate().map(read).collect()
}

fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    text.len() <= 254
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && parts.is_some_and(|(name, host)| {
            !name.is_empty() && host.len() > 2 && !host.starts_with('.') && !host.ends_with('.')
        })
}

fn is_phone(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

fn is_locale(text: &str) -> bool {
    let is_part =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = text.split('-').next().unwrap_or_default();
    text.len() <= 35
        && text.split('-').all(is_part)
        && (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// A name of the tz database, as a `[[schedule]]` takes it.
fn is_zone(text: &str) -> bool {
    TimeZone::get(text).is_ok_and(|zone| !zone.is_unknown())
}

pub(super) fn schemas() -> Map<String, Value> {
    let text = |pattern: &str, most: usize| json!({ "type": ["string", "null"], "pattern": pattern, "maxLength": most });
    let device = json!({ "type": "object", "required": ["kind", "token"], "additionalProperties": false, "properties": {
        "kind": { "type": "string", "pattern": "^[a-z0-9_]{1,32}$" },
        "token": { "type": "string", "minLength": 1, "maxLength": MAX_TOKEN } } });
    let contacts = json!({
        "email": text(r"^[^\s\x00-\x1f\x7f-\x9f]+@[^\s\x00-\x1f\x7f-\x9f@.][^\s\x00-\x1f\x7f-\x9f@]+[^\s\x00-\x1f\x7f-\x9f@.]$", 254),
        "phone": text(r"^\+[1-9][0-9]{6,14}$", 16), "locale": text("^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", 35),
        "zone": text("^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*)*$", 64),
        "devices": { "type": "array", "maxItems": MAX_OF_PERSON, "items": device } });
    let (mut sent, mut read) = (contacts.clone(), contacts);
    sent["wallets"] = json!({ "type": "array", "maxItems": MAX_OF_PERSON, "items": { "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$" } });
    read["wallets"] = json!({ "type": "array", "items": { "type": "object", "required": ["address", "userId", "stakeAmount", "status"] } });
    read["id"] = json!({ "type": "string", "description": "the person's own id, also where the request names another one" });
    read["aliases"] = json!({ "type": "array", "description": "ids that were merged into this person", "items": { "type": "string" } });
    let schemas = [
        ("UserChanges", json!({ "type": "object", "additionalProperties": false, "properties": sent })),
        ("User", json!({ "type": "object", "required": ["id", "wallets", "devices"], "properties": read })),
        ("ErasedUser", json!({ "type": "object", "required": ["id", "erased"] })),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_what_their_standards_write() {
        assert!(
            is_email("ada@example.org")
                && is_phone("+4915112345678")
                && is_locale("de-DE")
                && is_locale("zh-Hant-TW")
        );
        assert!(
            is_zone("Europe/Berlin")
                && is_zone("UTC")
                && is_zone("America/Argentina/Buenos_Aires")
                && is_zone("Etc/GMT+3")
                && is_zone("CET")
                && is_zone("Japan")
        );
        for text in ["", "ada", "@example.org", "ada@", "a b@example.org", "ada@.org"] {
            assert!(!is_email(text), "{text:?}");
        }
        for text in ["", "+", "4915112345678", "+0151", "+49 151 123", "+1234567890123456"] {
            assert!(!is_phone(text), "{text:?}");
        }
        for text in ["", "-", "d", "de_DE", "de-", "123"] {
            assert!(!is_locale(text), "{text:?}");
        }
        for text in ["", "Berlin", "Europe/", "Europe/Nowhere", "Etc/Unknown", "Europe/../x", "+01:00"] {
            assert!(!is_zone(text), "{text:?}");
        }
    }
}
