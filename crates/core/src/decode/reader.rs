use alloy_primitives::I256;
use thiserror::Error;

use super::abi_type::AbiType;
use super::event::AbiEvent;
use super::value::Value;
use crate::domain::{Address, B256, Bytes, Log, U256};

const WORD: usize = 32;
/// How many times the bytes of a log may be read, on average. A compiler's encoding is read once. A hand-written
/// encoder may let equal tails share their bytes. Many offsets to one long tail, or nested arrays of them, multiply the
/// work: an attack.
const MAX_READS: usize = 4;

/// Why the bytes do not fit their type.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum AbiMismatch {
    #[error("the data ends too early: {have} bytes where {need} are needed")]
    TooShort { need: usize, have: usize },
    #[error("{word} is not a clean {ty}")]
    Dirty { ty: AbiType, word: B256 },
    #[error("an offset or a length points outside the data: {word}")]
    Outside { word: B256 },
    #[error("too many offsets point to the same bytes")]
    Amplified,
    #[error("a topic is missing")]
    NoTopic,
}

/// Reads the arguments of a log that has as many topics as its event. An error names the argument.
///
/// Data beyond the arguments is accepted: contracts that write logs in assembly pad them, and the arguments are
/// complete. Data that ends before the last argument is an error.
pub(super) fn read(event: &AbiEvent, log: &Log) -> Result<Vec<Value>, String> {
    let topics = log.topics.as_slice();
    let mut topics = topics.iter().skip(usize::from(!event.anonymous));
    let mut reader =
        AbiReader { data: &log.data, reads: log.data.len().div_ceil(WORD).saturating_mul(MAX_READS) };
    let mut frame = reader.frame(0, event.data_words()).map_err(|misfit| misfit.to_string())?;
    let mut args = Vec::with_capacity(event.params.len());
    for param in &event.params {
        let value = if !param.indexed {
            reader.value(&param.ty, &mut frame)
        } else {
            topics.next().ok_or(AbiMismatch::NoTopic).and_then(|topic| {
                if param.ty.is_word() { word(&param.ty, topic) } else { Ok(Value::Hash(*topic)) }
            })
        };
        args.push(value.map_err(|misfit| format!("argument `{}`: {misfit}", param.name))?);
    }
    Ok(args)
}

/// A sequence of heads; their offsets count from its start.
struct HeadFrame {
    start: usize,
    at: usize,
}

/// Walks the data along its type. The length of the data bounds time and memory: heads must exist before memory is
/// reserved for them, and each read counts against `reads`.
struct AbiReader<'a> {
    data: &'a Bytes,
    /// Words that may still be read.
    reads: usize,
}

impl AbiReader<'_> {
    /// Enters the sequence of `words` heads at `start`.
    fn frame(&mut self, start: usize, words: usize) -> Result<HeadFrame, AbiMismatch> {
        let need = words.saturating_mul(WORD).saturating_add(start);
        if need > self.data.len() {
            return Err(AbiMismatch::TooShort { need, have: self.data.len() });
        }
        self.pay(words)?;
        Ok(HeadFrame { start, at: start })
    }

    fn pay(&mut self, words: usize) -> Result<(), AbiMismatch> {
        self.reads = self.reads.checked_sub(words).ok_or(AbiMismatch::Amplified)?;
        Ok(())
    }

    fn take(&self, frame: &mut HeadFrame) -> Result<B256, AbiMismatch> {
        let word = self.word_at(frame.at)?;
        frame.at += WORD;
        Ok(word)
    }

    fn word_at(&self, at: usize) -> Result<B256, AbiMismatch> {
        let need = at.saturating_add(WORD);
        let bytes = self.data.get(at..need).ok_or(AbiMismatch::TooShort { need, have: self.data.len() })?;
        Ok(B256::from_slice(bytes))
    }

    /// The target of the offset at the front of `frame`.
    fn follow(&self, frame: &mut HeadFrame) -> Result<usize, AbiMismatch> {
        let word = self.take(frame)?;
        let offset = self.size(word)?;
        frame
            .start
            .checked_add(offset)
            .filter(|at| *at <= self.data.len())
            .ok_or(AbiMismatch::Outside { word })
    }

    /// An offset or a length; never more than the size of the data.
    fn size(&self, word: B256) -> Result<usize, AbiMismatch> {
        usize::try_from(U256::from_be_bytes(word.0))
            .ok()
            .filter(|size| *size <= self.data.len())
            .ok_or(AbiMismatch::Outside { word })
    }

    fn value(&mut self, ty: &AbiType, frame: &mut HeadFrame) -> Result<Value, AbiMismatch> {
        match ty {
            AbiType::Bytes => Ok(Value::Bytes(self.payload(frame)?)),
            AbiType::String => Ok(Value::Text(self.payload(frame)?)),
            AbiType::Array(inner) => {
                let (at, len) = self.length(frame)?;
                let mut elements = self.frame(at, inner.head_words().saturating_mul(len))?;
                self.array(inner, len, &mut elements)
            }
            AbiType::FixedArray(inner, len) => {
                self.within(ty, frame, |reader, frame| reader.array(inner, *len, frame))
            }
            AbiType::Tuple(fields) => self.within(ty, frame, |reader, frame| {
                let values = fields.iter().map(|(_, ty)| reader.value(ty, frame));
                Ok(Value::Tuple(values.collect::<Result<_, _>>()?))
            }),
            elementary => word(elementary, &self.take(frame)?),
        }
    }

    /// Reads a fixed array or a tuple: in place, or at its offset if it is dynamic.
    fn within(
        &mut self,
        ty: &AbiType,
        frame: &mut HeadFrame,
        read: impl FnOnce(&mut Self, &mut HeadFrame) -> Result<Value, AbiMismatch>,
    ) -> Result<Value, AbiMismatch> {
        if !ty.is_dynamic() {
            return read(self, frame);
        }
        let at = self.follow(frame)?;
        let mut own = self.frame(at, ty.inner_words())?;
        read(self, &mut own)
    }

    /// `len` is bounded by the caller: the heads of all elements are in the data.
    fn array(&mut self, inner: &AbiType, len: usize, frame: &mut HeadFrame) -> Result<Value, AbiMismatch> {
        let mut values = Vec::with_capacity(len);
        for _ in 0..len {
            values.push(self.value(inner, frame)?);
        }
        Ok(Value::Array(values))
    }

    /// The length at an offset, and where the measured bytes begin.
    fn length(&mut self, frame: &mut HeadFrame) -> Result<(usize, usize), AbiMismatch> {
        let at = self.follow(frame)?;
        self.pay(1)?;
        let len = self.size(self.word_at(at)?)?;
        Ok((at + WORD, len))
    }

    /// The padding is ignored: some encoders leave it dirty, or leave it out at the end of the data.
    fn payload(&mut self, frame: &mut HeadFrame) -> Result<Bytes, AbiMismatch> {
        let (at, len) = self.length(frame)?;
        let need = at.saturating_add(len);
        if need > self.data.len() {
            return Err(AbiMismatch::TooShort { need, have: self.data.len() });
        }
        self.pay(len.div_ceil(WORD))?;
        Ok(self.data.slice(at..need))
    }
}

/// A value of one word. Bits outside the type must be as the ABI requires: zero, or the sign. Dropping dirty bits could
/// store a value that the contract did not mean. Such a log is malformed and becomes a dead letter.
fn word(ty: &AbiType, word: &B256) -> Result<Value, AbiMismatch> {
    let number = U256::from_be_bytes(word.0);
    let value = match ty {
        AbiType::Address if word[..12].iter().all(|byte| *byte == 0) => {
            Some(Value::Address(Address::from_slice(&word[12..])))
        }
        AbiType::Uint(bits) if number.bit_len() <= *bits => Some(Value::Uint(number)),
        AbiType::Int(bits) => signed(number, *bits).map(Value::Int),
        AbiType::Bool if number <= U256::ONE => Some(Value::Bool(!number.is_zero())),
        AbiType::FixedBytes(len) if word.iter().skip(*len).all(|byte| *byte == 0) => {
            Some(Value::FixedBytes { word: *word, len: *len })
        }
        _ => None,
    };
    value.ok_or_else(|| AbiMismatch::Dirty { ty: ty.clone(), word: *word })
}

fn signed(number: U256, bits: usize) -> Option<I256> {
    // A clean value has all bits above the sign bit equal to it.
    let negative = number.bit(255);
    let magnitude = if negative { !number } else { number };
    (magnitude.bit_len() < bits).then(|| I256::from_raw(number))
}
