//! Parses single fields that nodes send. A number that cannot be stored makes the answer unreadable, so that it is
//! requested again, or from another provider.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use alloy_primitives::B256;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, de};

use chainflume_core::domain::{BlockRef, Topics};

/// A `QUANTITY` of the execution API: `0x` and hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity(pub u64);

/// The height of a block, at most [`BlockRef::HIGHEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Height(pub u64);

/// The time of a block in seconds, at most [`BlockRef::LAST_SECOND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub u64);

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix("0x")
            // `from_str_radix` takes a sign.
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a quantity"))
    }
}

impl FromStr for Height {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Quantity(number) = text.parse()?;
        let no_height = || format!("`{text}` is not the height of a block");
        (number <= BlockRef::HIGHEST).then_some(Self(number)).ok_or_else(no_height)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Quantity(seconds) = text.parse()?;
        let no_time = || format!("`{text}` is not a block's time in seconds: it lies after the year 9999");
        (seconds <= BlockRef::LAST_SECOND).then_some(Self(seconds)).ok_or_else(no_time)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Field::deserialize(deserializer)?.needed("a quantity").map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Height {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Field::deserialize(deserializer)?.needed("the height of a block").map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Field::deserialize(deserializer)?.needed("the time of a block").map_err(de::Error::custom)
    }
}

/// A text field that a node may leave out, set to `null` or send in another form. None of these is an error until the
/// field is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Field<T> {
    /// Absent or `null`.
    #[default]
    Missing,
    /// Why it cannot be read.
    Odd(String),
    /// What it holds.
    Is(T),
}

impl<T> Field<T> {
    /// The value; `None` if it is missing or cannot be read.
    pub(crate) fn readable(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            _ => None,
        }
    }

    /// What it holds.
    ///
    /// # Errors
    /// That `what` is missing, or cannot be read.
    pub(super) fn needed(self, what: &str) -> Result<T, String> {
        match self {
            Self::Is(value) => Ok(value),
            Self::Missing => Err(format!("{what} is missing")),
            Self::Odd(why) => Err(format!("{what} cannot be read: {why}")),
        }
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

/// Reads any JSON. A value that is no text is odd, and is skipped.
struct FieldVisitor<T>(PhantomData<T>);

impl<T> FieldVisitor<T> {
    fn odd<E>(what: impl fmt::Display) -> Result<Field<T>, E> {
        Ok(Field::Odd(format!("{what} instead of a text")))
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<T>, E> {
        Ok(text.parse().map_or_else(|why: T::Err| Field::Odd(why.to_string()), Field::Is))
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Missing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field<T>, E> {
        Self::odd(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field<T>, E> {
        Self::odd(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field<T>, E> {
        Self::odd(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field<T>, E> {
        Self::odd(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<T>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Self::odd("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<T>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Self::odd("an object")
    }
}

/// The topics of a log. Some nodes send `null` for an empty list.
///
/// Read in place: a list for each log would be an allocation for each log.
pub(super) struct WireTopics(pub Result<Topics, String>);

impl Default for WireTopics {
    fn default() -> Self {
        Self(Err("the topics of a log are missing".to_owned()))
    }
}

impl<'de> Deserialize<'de> for WireTopics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopicsVisitor).map(Self)
    }
}

struct TopicsVisitor;

fn odd<E>(what: impl fmt::Display) -> Result<Result<Topics, String>, E> {
    Ok(Err(format!("{what} instead of the topics of a log")))
}

impl<'de> Visitor<'de> for TopicsVisitor {
    type Value = Result<Topics, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("up to four topics")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Ok(Topics::default()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        odd(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        odd(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        odd(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        odd(value)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        odd(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        odd("an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut words, mut len, mut wrong) = ([B256::ZERO; 4], 0, None);
        while let Some(word) = seq.next_element::<Field<B256>>()? {
            match (words.get_mut(len), word.needed("a topic")) {
                (Some(place), Ok(word)) => *place = word,
                (None, _) => wrong = Some("a log has more than four topics".to_owned()),
                (_, Err(why)) => wrong = Some(why),
            }
            len += 1;
        }
        let topics = words.get(..len).and_then(Topics::new);
        Ok(wrong.map_or_else(|| topics.ok_or_else(|| "a log has more than four topics".to_owned()), Err))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn quantities_are_hexadecimal_strings() {
        let number = |text: &str| read::<Quantity>(text).map(|quantity| quantity.0);
        assert_eq!(number("\"0x10\""), Some(16));
        assert_eq!(number("\"0xffffffffffffffff\""), Some(u64::MAX));
        for odd in
            ["\"0x\"", "\"16\"", "\"0x1ffffffffffffffff\"", "16", "\"0x+10\"", "\"-0x1\"", "null", "[]"]
        {
            assert_eq!(number(odd), None, "{odd}");
        }
    }

    #[test]
    fn heights_and_times_that_cannot_be_stored_are_none() {
        let height = |text: &str| read::<Height>(text).map(|height| height.0);
        assert_eq!(height("\"0xffffffffff\""), Some(BlockRef::HIGHEST));
        assert_eq!(height("\"0x10000000000\""), None);
        let time = |text: &str| read::<Time>(text).map(|time| time.0);
        assert_eq!(time("\"0x3afff4417f\""), Some(BlockRef::LAST_SECOND));
        assert_eq!(time("\"0x3afff44180\""), None);
        // The year 2026 in milliseconds.
        assert_eq!(time("\"0x19b76da5000\""), None);
    }

    #[test]
    fn a_field_in_any_form_is_no_error_before_it_is_needed() {
        for odd in [
            json!("0x"),
            json!(""),
            json!(7),
            json!(-7),
            json!(1.5),
            json!(true),
            json!([[1]]),
            json!({"a": {}}),
        ] {
            let field: Field<Quantity> = serde_json::from_value(odd.clone()).expect("any JSON");
            assert!(matches!(field, Field::Odd(_)) && field.readable().is_none(), "{odd}");
            let why = field.needed("an index").expect_err("it is odd");
            assert!(why.starts_with("an index cannot be read: "), "{why}");
        }
        let none: Field<Quantity> = serde_json::from_value(json!(null)).expect("any JSON");
        assert_eq!(none, Field::Missing);
        assert_eq!(none.needed("an index"), Err("an index is missing".to_owned()));
    }

    #[test]
    fn topics_are_up_to_four_words_and_null_is_none_of_them() {
        let read = |value: serde_json::Value| serde_json::from_value::<WireTopics>(value).expect("a list").0;
        let words = [B256::repeat_byte(1); 5];
        assert_eq!(read(json!(words[..4])), Ok(Topics::new(&words[..4]).expect("four")));
        assert_eq!(read(json!(null)), Ok(Topics::default()));
        assert_eq!(read(json!(words)), Err("a log has more than four topics".to_owned()));
        assert_eq!(read(json!([null])), Err("a topic is missing".to_owned()));
        for odd in [json!(true), json!(1), json!(-1), json!(1.5), json!("0x"), json!({}), json!([{}])] {
            read(odd).expect_err("no list of topics");
        }
    }
}
