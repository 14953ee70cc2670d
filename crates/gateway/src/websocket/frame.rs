use bytes::Bytes;

use super::deflate::deflate;

/// Kinds of frames, RFC 6455 section 5.2.
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A bit beside the kind of a frame (RSV1): the message is compressed, RFC 7692 section 6.
pub(super) const COMPRESSED: u8 = 0x40;

/// A frame of a client, as its head describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientFrame {
    pub opcode: u8,
    pub is_final: bool,
    /// The first frame of a compressed message.
    pub is_compressed: bool,
    /// What each byte of the payload is xored with, in turn.
    pub mask: [u8; 4],
    /// Bytes before the payload.
    pub head: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

/// Why bytes are no frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// Against the protocol.
    Wrong,
    /// More bytes than a message may have.
    TooLong,
}

/// Bytes of a ping, a pong or a close at most.
const MAX_CONTROL: usize = 125;

/// Reads the head of the first frame; `None` where more bytes are needed. A frame with more than `max` bytes is refused by its head
/// alone.
pub(super) fn client_frame(bytes: &[u8], max: usize) -> Result<Option<ClientFrame>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    let (opcode, is_final, is_compressed) = (first & 0x0f, first & 0x80 != 0, first & COMPRESSED != 0);
    let is_control = opcode >= CLOSE;
    let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
    // RFC 7692 section 6.1: only the first frame of a message may have the bit.
    let is_data = matches!(opcode, TEXT | BINARY);
    let is_masked = second & 0x80 != 0;
    if first & 0x30 != 0 || !is_known || !is_masked || (is_compressed && !is_data) {
        return Err(FrameError::Wrong);
    }
    let (extra, payload) = match usize::from(second & 0x7f) {
        126 => (2, number(rest, 2)),
        127 => (8, number(rest, 8)),
        short => (0, Some(short as u64)),
    };
    let Some(payload) = payload else { return Ok(None) };
    if is_control && (payload > MAX_CONTROL as u64 || !is_final) {
        return Err(FrameError::Wrong);
    }
    let payload =
        usize::try_from(payload).ok().filter(|payload| *payload <= max).ok_or(FrameError::TooLong)?;
    let Some(mask) = rest.get(extra..extra + 4).and_then(|mask| mask.try_into().ok()) else {
        return Ok(None);
    };
    Ok(Some(ClientFrame { opcode, is_final, is_compressed, mask, head: 2 + extra + 4, payload }))
}

/// A number of so many bytes, the highest first.
fn number(bytes: &[u8], count: usize) -> Option<u64> {
    Some(bytes.get(..count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Xors the payload with the mask, which gives what the client meant.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for four in payload.chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
}

/// A whole text message of the server, not compressed.
pub fn text_frame(text: &[u8]) -> Bytes {
    whole_frame(TEXT, text)
}

/// A whole text message of the server, compressed where it gets shorter.
pub fn compressed_text_frame(text: &[u8]) -> Bytes {
    match deflate(text) {
        Some(compressed) => whole_frame(TEXT | COMPRESSED, &compressed),
        None => text_frame(text),
    }
}

fn whole_frame(kind: u8, payload: &[u8]) -> Bytes {
    [&*server_head(kind, payload.len()), payload].concat().into()
}

/// The head of a whole message, or of a control frame, of the server. `kind` may have [`COMPRESSED`].
pub(super) fn server_head(kind: u8, payload: usize) -> Vec<u8> {
    let mut head = vec![0x80 | kind];
    if let Some(short) = u8::try_from(payload).ok().filter(|short| *short < 126) {
        head.push(short);
    } else if let Ok(middle) = u16::try_from(payload) {
        head.push(126);
        head.extend(middle.to_be_bytes());
    } else {
        head.push(127);
        head.extend((payload as u64).to_be_bytes());
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(first: u8, second: &[u8]) -> Vec<u8> {
        [&[first], second, &[1, 2, 3, 4]].concat()
    }

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        for (second, head, payload) in [
            (&[0x80][..], 6, 0),
            (&[0xfd], 6, 125),
            (&[0xfe, 1, 0], 8, 256),
            (&[0xff, 0, 0, 0, 0, 0, 1, 0, 0], 14, 1 << 16),
        ] {
            let bytes = client(0x81, second);
            let expected = ClientFrame {
                opcode: TEXT,
                is_final: true,
                is_compressed: false,
                mask: [1, 2, 3, 4],
                head,
                payload,
            };
            assert_eq!(client_frame(&bytes, 1 << 16), Ok(Some(expected)));
            for end in 0..bytes.len() {
                assert_eq!(client_frame(&bytes[..end], 1 << 16), Ok(None), "{end} of {bytes:?}");
            }
        }
        let compressed = client_frame(&client(0x42, &[0x80]), 9).expect("right").expect("whole");
        assert_eq!((compressed.opcode, compressed.is_final, compressed.is_compressed), (BINARY, false, true));
    }

    #[test]
    fn what_is_no_frame_of_a_client_is_refused() {
        let opcodes = |kinds: [u8; 5]| kinds.map(|opcode| (0x80 | opcode, &[0x80][..]));
        let wrong = [
            (0x81, &[0x00][..]), // Not masked: a text, and a close.
            (0x88, &[0x00]),
            (0xa1, &[0x80]), // Bits that no extension here has.
            (0x91, &[0x80]),
            (0x98, &[0x80]),
            (0xc0, &[0x80]), // A continuation, a ping, a pong and a close that are compressed.
            (0xc9, &[0x80]),
            (0xca, &[0x80]),
            (0xc8, &[0x80]),
            (0x08, &[0x80]), // A close, a ping and a pong in parts.
            (0x09, &[0x80]),
            (0x0a, &[0x80]),
            (0x88, &[0xfe, 0, 126]), // And those that are too long.
            (0x89, &[0xfe, 0, 126]),
            (0x8a, &[0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        // Kinds that do not exist.
        let reserved = [opcodes([3, 4, 5, 6, 7]), opcodes([11, 12, 13, 14, 15])].concat();
        for (first, second) in wrong.into_iter().chain(reserved) {
            assert_eq!(
                client_frame(&client(first, second), 1 << 20),
                Err(FrameError::Wrong),
                "{first:x} {second:x?}"
            );
        }
        for second in [&[0xfe, 0, 201][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(client_frame(&client(0x81, second), 200), Err(FrameError::TooLong), "{second:x?}");
        }
    }

    #[test]
    fn a_head_of_the_server_has_the_shortest_length() {
        assert_eq!(server_head(TEXT, 125), [0x81, 125]);
        assert_eq!(server_head(TEXT | COMPRESSED, 126), [0xc1, 126, 0, 126]);
        assert_eq!(server_head(BINARY, 65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(server_head(TEXT, 65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        let mut text = *b"abcdef";
        unmask(&mut text, [1, 2, 3, 4]);
        unmask(&mut text, [1, 2, 3, 4]);
        assert_eq!(&text, b"abcdef");
    }
}
