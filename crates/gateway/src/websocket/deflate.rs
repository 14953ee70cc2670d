use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends a flushed block. RFC 7692 section 7.2.1: the sender leaves it out, and the receiver adds it.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Below this a message is hardly shorter when compressed.
const MIN_BYTES: usize = 128;

thread_local! {
    // Some 300 KiB each, and as good as new after a reset: a thread needs one, and no connection does.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// A message compressed without what was sent before it, so that every connection may get the same bytes; `None` where it would not be
/// shorter.
pub fn deflate(message: &[u8]) -> Option<Bytes> {
    if message.len() < MIN_BYTES {
        return None;
    }
    COMPRESS.with_borrow_mut(|state| {
        state.reset();
        let mut out = Vec::with_capacity(message.len());
        // What does not fit into as many bytes is not shorter.
        let status = state.compress_vec(message, &mut out, FlushCompress::Sync).ok()?;
        let is_whole =
            status == Status::Ok && state.total_in() == message.len() as u64 && out.len() < out.capacity();
        let body = out.strip_suffix(&TAIL).filter(|body| is_whole && body.len() < message.len())?;
        Some(Bytes::copy_from_slice(body))
    })
}

/// Why a compressed message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    /// Not what a compressor writes.
    Wrong,
    /// More bytes than a message may have.
    TooLong,
}

/// Reads a compressed message, which may have `max` bytes: a small message can be a large one compressed.
pub(super) fn inflate(message: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
    DECOMPRESS.with_borrow_mut(|state| {
        state.reset(false);
        let mut out = Vec::with_capacity((message.len() * 4).clamp(256, max.max(256)));
        let input = [message, &TAIL].concat();
        loop {
            let read = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
            let rest = input.get(read..).unwrap_or_default();
            let before = (state.total_in(), state.total_out());
            let status = state.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            if out.len() > max {
                return Err(InflateError::TooLong);
            }
            let is_stuck = before == (state.total_in(), state.total_out());
            match status {
                Err(_) => return Err(InflateError::Wrong),
                // A last block is allowed; what follows it is not read.
                Ok(Status::StreamEnd) => return Ok(out),
                Ok(_) if out.len() == out.capacity() => out.reserve(out.len().max(256)),
                Ok(_) if state.total_in() == input.len() as u64 => return Ok(out),
                Ok(_) if is_stuck => return Err(InflateError::Wrong),
                Ok(_) => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_compressed_reads_back(words in proptest::collection::vec(0u8..12, 0..5_000)) {
            if let Some(body) = deflate(&words) {
                prop_assert!(body.len() < words.len());
                prop_assert_eq!(inflate(&body, 5_000), Ok(words));
            }
        }

        #[test]
        fn whatever_a_client_sends_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(text) = inflate(&bytes, 10_000) {
                prop_assert!(text.len() <= 10_000);
            }
        }
    }

    #[test]
    fn a_message_reads_as_the_examples_of_the_standard() {
        // RFC 7692 section 7.2.3.1 and 7.2.3.3: a fixed block, and one without compression.
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100), Ok(b"Hello".to_vec()));
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        assert_eq!(inflate(&stored, 100), Ok(b"Hello".to_vec()));
        // Section 7.2.3.4: with the bit of a last block, and 7.2.3.6: nothing.
        assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], 100), Ok(b"Hello".to_vec()));
        assert_eq!(inflate(&[0x00], 100), Ok(Vec::new()));
    }

    #[test]
    fn a_bomb_is_noticed_while_it_is_read() {
        let bomb = deflate(&vec![b' '; 10 << 20]).expect("it is shorter");
        assert!(bomb.len() < 100 << 10);
        assert_eq!(inflate(&bomb, 256 << 10), Err(InflateError::TooLong));
        assert_eq!(inflate(&bomb, 10 << 20).map(|text| text.len()), Ok(10 << 20));
        assert_eq!(inflate(&[0xff; 40], 1_000), Err(InflateError::Wrong));
    }

    #[test]
    fn what_does_not_get_shorter_is_sent_as_it_is() {
        assert_eq!(deflate(b"{\"id\":1}"), None);
        let mut random = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        })
        .take(1_000)
        .collect();
        assert_eq!(deflate(&noise), None);
    }
}
