//! WebSocket frames of RFC 6455, as far as a server and a client without extensions exchange them.

/// A frame of the server.
pub struct ServerFrame<'a> {
    /// 1 for text, 8 for the end of the connection, 9 for a ping.
    pub opcode: u8,
    /// The bytes, which a server does not mask.
    pub payload: &'a [u8],
}

/// The first frame in `bytes`, and how many bytes it takes; `None` where it is not whole.
pub fn first_frame(bytes: &[u8]) -> Option<(ServerFrame<'_>, usize)> {
    let [first, second, ..] = *bytes else { return None };
    let (head, length) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        length => (2, u64::from(length)),
    };
    let end = head + usize::try_from(length).ok()?;
    let payload = bytes.get(head..end)?;
    Some((ServerFrame { opcode: first & 0x0f, payload }, end))
}

/// A frame of a client: whole, and masked with zeros, which leave the bytes as they are.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_of_each_length_is_read_when_it_is_whole() {
        for length in [0_usize, 125, 126, 65_535, 65_536] {
            let mut frame = client_frame(1, &vec![b'x'; length]);
            // What the server sends is not masked.
            let head = frame.len() - length;
            frame.drain(head - 4..head);
            frame[1] &= 0x7f;
            let whole = frame.len();
            assert!(first_frame(&frame[..whole - 1]).is_none(), "{length}");
            frame.extend(b"next");
            let (read, end) = first_frame(&frame).expect("a whole frame");
            assert_eq!((read.opcode, read.payload.len(), end), (1, length, whole));
        }
    }
}
