mod number;

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::answer::Refusal;

/// Arrays and objects within one another at most: far more than a fact needs, far less than a stack holds.
pub const MAX_DEPTH: usize = 32;

/// Characters of a number that a refusal shows.
const SHOWN_DIGITS: usize = 40;

/// Reads the JSON of a request, which may come from anyone.
///
/// # Errors
/// `bad_body` of what is no JSON, is nested deeper than [`MAX_DEPTH`], names a key twice, has NUL in a text, or has a number that 64
/// bits do not hold exactly: a database or a reader would make something else of it.
pub fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = Strict(MAX_DEPTH).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let refused =
        |why: &dyn fmt::Display| Refusal::bad_body(format!("the body is not JSON that can be kept: {why}"));
    let value = read.map_err(|error| refused(&error))?;
    match number::first_changed(body) {
        None => Ok(value),
        Some(number) => {
            let shown: String = number.chars().take(SHOWN_DIGITS).collect();
            Err(refused(&format_args!(
                "64 bits do not hold the number {shown} exactly; write it as a string"
            )))
        }
    }
}

/// Reads a body whose media type is `media`, as [`parse`] does.
///
/// # Errors
/// `bad_body`; `unsupported_media_type` where a media type is given that is not JSON.
pub fn read(media: Option<&str>, body: &[u8]) -> Result<Value, Refusal> {
    let media = media.map(|text| text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase());
    let is_json = |media: &String| {
        media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
    };
    if media.as_ref().is_some_and(|media| !is_json(media)) {
        let detail = "send JSON with the header Content-Type: application/json";
        return Err(Refusal::new(415, "unsupported_media_type", detail));
    }
    parse(body)
}

/// The fields of an object, none of them unknown.
///
/// # Errors
/// `bad_body`, with the place.
pub fn object(value: Value, known: &[&str], place: &str) -> Result<Map<String, Value>, Refusal> {
    let Value::Object(fields) = value else {
        return Err(Refusal::bad_body(format!("send an object with {}", known.join(", "))).at(place));
    };
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(fields),
        Some(name) => {
            let shown: String = name.chars().take(60).collect();
            let detail = format!("unknown field {shown:?}; fields here: {}", known.join(", "));
            Err(Refusal::bad_body(detail).at(format!("{place}/{shown}")))
        }
    }
}

/// So many levels more.
struct Strict(usize);

impl Strict {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        self.0
            .checked_sub(1)
            .map(Self)
            .ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH}")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // What is written without a fraction and does not fit 64 bits arrives here too, changed.
        if value.fract() == 0.0 && value.abs() >= 9_007_199_254_740_992.0 {
            return Err(E::custom("a number beyond 64 bits; write it as a string"));
        }
        // A database keeps no negative zero.
        Number::from_f64(value + 0.0).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        if value.contains('\0') { Err(E::custom("NUL in a text")) } else { Ok(Value::String(value)) }
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key.contains('\0') {
                return Err(A::Error::custom("NUL in a key"));
            }
            let value = entries.next_value_seed(self.deeper()?)?;
            if found.contains_key(&key) {
                let shown: String = key.chars().take(60).collect();
                return Err(A::Error::custom(format_args!("the key {shown:?} is there twice")));
            }
            found.insert(key, value);
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_read_as_it_was_written() {
        let text = r#"{"a":[1,-2,18446744073709551615,0.5,true,null,"\u00e4"],"b":{}}"#;
        assert_eq!(parse(text.as_bytes()).expect("JSON").to_string(), text.replace("\\u00e4", "\u{e4}"));
        assert_eq!(parse(b" 7 "), Ok(json!(7)));
        assert_eq!(parse(b"[-0,-0.0,1e2]").expect("JSON").to_string(), "[0.0,0.0,100.0]");
    }

    #[test]
    fn json_that_readers_would_change_is_refused() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(MAX_DEPTH).as_bytes()).is_ok());
        let (deeper, abyss) = (deep(MAX_DEPTH + 1), deep(100_000));
        let texts = [
            "",
            "{",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#""\u0000""#,
            r#"{"\u0000":1}"#,
        ];
        let texts = texts.into_iter().chain([
            "18446744073709551616",
            "1e300",
            "NaN",
            "\u{feff}{}",
            "[123456789012345.6789]",
            &deeper,
            &abyss,
        ]);
        for text in texts {
            let refusal = parse(text.as_bytes()).expect_err(&text[..text.len().min(40)]);
            assert_eq!((refusal.status, refusal.code), (400, "bad_body"));
            assert!(refusal.detail.len() < 300, "{}", refusal.detail);
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn unknown_fields_are_named_with_their_place() {
        assert!(object(json!({ "a": 1 }), &["a", "b"], "").is_ok());
        let refusal = object(json!({ "c": 1 }), &["a", "b"], "/events/3").expect_err("unknown");
        assert_eq!(refusal.pointer.as_deref(), Some("/events/3/c"));
        assert_eq!(object(json!([]), &["a"], "").expect_err("no object").code, "bad_body");
    }
}
