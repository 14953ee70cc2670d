use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};

use super::fault::Fault;
use super::units::{parse_duration, parse_size, within};

/// The name by which [`path`] asks for a path: `config` takes it relative to the folder of its file.
pub const PATH: &str = "Path";

/// The name by which [`number_or_word`] asks for a value: `config` gives it each string, also an empty one, or a number.
pub const NUMBER_OR_WORD: &str = "NumberOrWord";

/// A whole number from `LOW` to `HIGH`.
///
/// # Errors
/// A [`Fault`] as text: what is wrong with the value, and the remedy.
pub fn number<'de, const LOW: u64, const HIGH: u64, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = deserializer.deserialize_i128(Whole)?;
    let number = within(number, &(i128::from(LOW)..=i128::from(HIGH)), |number| number.to_string());
    let number = number.map(|number| u64::try_from(number).unwrap_or(HIGH)).map_err(D::Error::custom)?;
    T::try_from(number).map_err(|_| D::Error::custom("does not fit this machine"))
}

/// A whole number from `LOW` to `HIGH`, also as a string, or one of some words.
///
/// # Errors
/// As [`number`]. `remedy` is the remedy for a string that is neither.
pub fn number_or_word<'de, const LOW: u64, const HIGH: u64, D, T>(
    deserializer: D,
    of_number: fn(u64) -> T,
    words: &[(&str, T)],
    remedy: &str,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Copy,
{
    let visitor = NumberOrWord { bounds: LOW..=HIGH, of_number, words, remedy };
    deserializer.deserialize_newtype_struct(NUMBER_OR_WORD, visitor)
}

/// A whole number up to `HIGH`, where 0 is no limit.
///
/// # Errors
/// As [`number`].
pub fn limit<'de, const HIGH: u64, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number::<0, HIGH, _, u64>(deserializer).map(|number| Some(number).filter(|number| *number > 0))
}

/// A length of time from `LOW` to `HIGH` milliseconds.
///
/// # Errors
/// As [`number`].
pub fn duration<'de, const LOW: u64, const HIGH: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let bounds = Duration::from_millis(LOW)..=Duration::from_millis(HIGH);
    text(deserializer, |text| parse_duration(text, &bounds))
}

/// A size from `LOW` to `HIGH` bytes; a plain number of bytes needs no quotes.
///
/// # Errors
/// As [`number`].
pub fn size<'de, const LOW: u64, const HIGH: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    let size = deserializer.deserialize_any(Size(LOW, HIGH))?;
    // On a 32-bit machine, a larger size cannot be allocated anyway.
    Ok(usize::try_from(size).unwrap_or(usize::MAX))
}

/// A path relative to the folder of the configuration.
///
/// # Errors
/// As [`number`].
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    deserializer.deserialize_newtype_struct(PATH, OfPath).map(Some)
}

/// A string that `read` converts.
///
/// # Errors
/// The error of `read`, or that the value is not a string.
pub fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, Fault>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(ReadText(read))
}

/// A list of strings that `read` converts.
///
/// # Errors
/// As [`text`].
pub fn texts<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(ReadEach(read, PhantomData))
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<i128, E> {
        Ok(number)
    }
}

struct NumberOrWord<'w, T> {
    bounds: RangeInclusive<u64>,
    of_number: fn(u64) -> T,
    words: &'w [(&'w str, T)],
    remedy: &'w str,
}

impl<T: Copy> Visitor<'_> for NumberOrWord<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or a word")
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<T, E> {
        let wide = i128::from(*self.bounds.start())..=i128::from(*self.bounds.end());
        let number = within(number, &wide, |number| number.to_string()).map_err(E::custom)?;
        Ok((self.of_number)(u64::try_from(number).unwrap_or(*self.bounds.end())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        if let Ok(number) = text.parse() {
            return within(number, &self.bounds, u64::to_string).map(self.of_number).map_err(E::custom);
        }
        let known = self.words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        known.ok_or_else(|| E::custom(Fault::new("is not known here", self.remedy)))
    }
}

struct Size(u64, u64);

impl Visitor<'_> for Size {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size")
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<u64, E> {
        let bounds = i128::from(self.0)..=i128::from(self.1);
        let number = within(number, &bounds, |number| number.to_string()).map_err(E::custom)?;
        Ok(u64::try_from(number).unwrap_or(self.1))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text, &(self.0..=self.1)).map_err(E::custom)
    }
}

struct OfPath;

impl Visitor<'_> for OfPath {
    type Value = PathBuf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    // Not a string: names of folders may be any bytes.
    fn visit_bytes<E: Error>(self, path: &[u8]) -> Result<PathBuf, E> {
        Ok(OsStr::from_bytes(path).into())
    }
}

struct ReadText<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, Fault>> Visitor<'_> for ReadText<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

impl<'de, T, F: FnOnce(&str) -> Result<T, Fault>> DeserializeSeed<'de> for ReadText<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        text(deserializer, self.0)
    }
}

struct ReadEach<F, T>(F, PhantomData<T>);

impl<'de, T, F: Fn(&str) -> Result<T, Fault>> Visitor<'de> for ReadEach<F, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("strings in brackets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(ReadText(&self.0))? {
            read.push(item);
        }
        Ok(read)
    }
}
