use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::super::deflate::deflate;
use super::*;

const MAX: usize = 4_000;
const MASK: [u8; 4] = [7, 0, 255, 33];

/// A frame of a client with this first byte.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = server_head(0, payload.len());
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend(MASK);
    let mut masked = payload.to_vec();
    unmask(&mut masked, MASK);
    frame.extend(masked);
    frame
}

/// A server, and the bytes that its client has sent before it ended.
async fn given(bytes: &[u8]) -> WebSocketConnection<DuplexStream> {
    let (io, mut other) = duplex(bytes.len().max(1));
    other.write_all(bytes).await.expect("it fits");
    drop(other);
    WebSocketConnection::new(io, Bytes::new(), MAX).compressed(true)
}

async fn messages(bytes: &[u8]) -> (Vec<WebSocketMessage>, WebSocketError) {
    let (mut socket, mut found) = (given(bytes).await, Vec::new());
    loop {
        match socket.next().await {
            Ok(message) => found.push(message),
            Err(error) => return (found, error),
        }
    }
}

fn text(text: &str) -> WebSocketMessage {
    WebSocketMessage::Text(text.to_owned())
}

#[tokio::test]
async fn messages_are_read_whole_in_parts_and_compressed() {
    let long = "{\"op\":\"subscribe\"}".repeat(100);
    let body = deflate(long.as_bytes()).expect("it is shorter");
    let (first, second) = body.split_at(10);
    let bytes = [
        client(0x81, b"whole"),
        client(0x01, b"in "),
        client(0x89, b"are you there"),
        client(0x00, b"three "),
        client(0x80, "parts \u{20ac}".as_bytes()),
        client(0x41, first),
        client(0x80, second),
        client(0xc1, &body),
        client(0x82, &[0xff, 0xfe, 0xfd]),
        client(0x8a, b""),
        client(0x88, &4_000_u16.to_be_bytes()),
    ]
    .concat();
    let expected = vec![
        text("whole"),
        WebSocketMessage::Ping(Bytes::from_static(b"are you there")),
        text("in three parts \u{20ac}"),
        text(&long),
        text(&long),
        WebSocketMessage::Binary(3),
        WebSocketMessage::Pong,
        WebSocketMessage::Close(4_000),
    ];
    assert_eq!(messages(&bytes).await, (expected, WebSocketError::Gone));
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_nothing() {
    let (io, mut other) = duplex(1);
    let mut socket = WebSocketConnection::new(io, Bytes::new(), MAX);
    let bytes = client(0x81, b"slowly");
    let sent = tokio::spawn(async move {
        for byte in bytes {
            other.write_all(&[byte]).await.expect("the server reads");
            tokio::task::yield_now().await;
        }
        other
    });
    let message = loop {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            message = socket.next() => break message,
        }
    };
    assert_eq!(message, Ok(text("slowly")));
    drop(sent.await);
}

#[tokio::test]
async fn what_is_against_the_protocol_ends_the_connection() {
    let bomb = deflate(&vec![b' '; MAX + 1]).expect("it is shorter");
    for (bytes, error) in [
        (client(0x80, b"no beginning"), WebSocketError::Wrong),
        ([client(0x01, b"a"), client(0x81, b"b")].concat(), WebSocketError::Wrong),
        (client(0xc1, &[0xff; 20]), WebSocketError::Wrong),
        (client(0x81, &[0xff, 0xfe]), WebSocketError::NotText),
        (client(0xc1, &deflate(&[0xff; 200]).expect("it is shorter")), WebSocketError::NotText),
        (client(0x81, &vec![b' '; MAX + 1]), WebSocketError::TooLong),
        ([client(0x01, &vec![b' '; MAX]), client(0x80, b" ")].concat(), WebSocketError::TooLong),
        (client(0xc1, &bomb), WebSocketError::TooLong),
        (client(0x81, b"cut")[..7].to_vec(), WebSocketError::Gone),
    ] {
        assert_eq!(messages(&bytes).await, (Vec::new(), error));
    }
    let (io, _other) = duplex(1);
    let mut plain = WebSocketConnection::new(io, Bytes::new(), MAX);
    plain.read.extend_from_slice(&client(0xc1, &bomb));
    assert_eq!(plain.take(), Err(WebSocketError::Wrong), "compression was not agreed on");
}

#[tokio::test]
async fn a_close_frame_has_a_code_that_may_be_sent_and_a_text() {
    let close = |code: u16, reason: &[u8]| client(0x88, &[&code.to_be_bytes(), reason].concat());
    let closed = |code| (vec![WebSocketMessage::Close(code)], WebSocketError::Gone);
    assert_eq!(messages(&client(0x88, b"")).await, closed(1000));
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999] {
        assert_eq!(messages(&close(code, "f\u{fc}r".as_bytes())).await, closed(code));
    }
    assert_eq!(messages(&close(1000, &[b'x'; 123])).await, closed(1000));
    let wrong = |error| (Vec::new(), error);
    assert_eq!(messages(&client(0x88, &[3])).await, wrong(WebSocketError::Wrong), "half a code");
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
        assert_eq!(messages(&close(code, b"")).await, wrong(WebSocketError::Wrong), "{code}");
    }
    for reason in [&[0xff_u8][..], &[0xce, 0xba, 0xe1], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80]] {
        assert_eq!(messages(&close(1000, reason)).await, wrong(WebSocketError::NotText), "{reason:x?}");
    }
}

#[tokio::test]
async fn the_server_sends_what_a_client_reads() {
    let (io, mut other) = duplex(64 << 10);
    let mut socket = WebSocketConnection::new(io, Bytes::new(), MAX).compressed(true);
    let long = "x".repeat(300);
    let body = deflate(long.as_bytes()).expect("it is shorter");
    socket.text(Bytes::from_static(b"{}")).await.expect("sent");
    let compressed = frame::compressed_text_frame(long.as_bytes());
    let plain = frame::text_frame(long.as_bytes());
    socket.frames(&[compressed.clone(), plain]).await.expect("sent");
    socket.frames(&[compressed]).await.expect("sent");
    socket.frames(&[]).await.expect("nothing to send");
    socket.ping().await.expect("sent");
    socket.pong(Bytes::from_static(b"ab")).await.expect("sent");
    socket.close(1012, "restart").await.expect("sent");
    let mut sent = Vec::new();
    other.read_to_end(&mut sent).await.expect("it ends");
    let length = u8::try_from(body.len()).expect("short");
    let expected = [
        &[0x81, 2, b'{', b'}', 0xc1, length][..],
        &body,
        &[0x81, 126, 1, 44],
        long.as_bytes(),
        &[0xc1, length],
        &body,
        &[0x89, 0, 0x8a, 2, b'a', b'b', 0x88, 9, 0x03, 0xf4],
        b"restart",
    ];
    assert_eq!(sent, expected.concat());
}

#[tokio::test]
async fn a_frame_that_was_cut_short_is_finished_before_the_next() {
    let (io, mut other) = duplex(10);
    let mut socket = WebSocketConnection::new(io, Bytes::new(), MAX);
    let long = Bytes::from(vec![b'x'; 100]);
    tokio::select! {
        biased;
        sent = socket.text(long.clone()) => panic!("the client does not read: {sent:?}"),
        () = tokio::task::yield_now() => {}
    }
    let reader = tokio::spawn(async move {
        let mut sent = Vec::new();
        other.read_to_end(&mut sent).await.expect("it ends");
        sent
    });
    socket.close(4408, "too_slow").await.expect("sent");
    let expected = [&[0x81, 100][..], &long, &[0x88, 10, 0x11, 0x38], b"too_slow"].concat();
    assert_eq!(reader.await.expect("no panic"), expected);
}

proptest! {
    #[test]
    fn whatever_bytes_come_the_connection_ends(bytes in proptest::collection::vec(any::<u8>(), 0..400), first in 0x80u8..0x8b) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        // Bytes at random, and those of a frame with a right head.
        for bytes in [bytes.clone(), client(first, &bytes), client(first | 0x40, &bytes)] {
            let (found, _) = runtime.block_on(messages(&bytes));
            prop_assert!(found.len() <= bytes.len());
        }
    }
}
