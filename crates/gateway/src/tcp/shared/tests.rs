use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server's stream, what others write to it with, and its client.
async fn connected() -> (SharedTcp, DirectWriter, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
    let (server, _) = listener.accept().await.expect("accepts");
    server.writable().await.expect("is writable");
    let (read, write) = server.into_split();
    let shared = Arc::new(TcpHalves { read, unsent: Mutex::default() });
    (
        SharedTcp { shared: shared.clone(), write: Stall::new(write, STALL_TIMEOUT) },
        DirectWriter(shared),
        client,
    )
}

/// Different bytes at each place, so that a swap is seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).expect("a byte")).collect()
}

#[tokio::test]
async fn what_the_socket_does_not_take_goes_out_before_the_next_write() {
    let (mut server, writer, mut client) = connected().await;
    assert!(writer.write(b"short"));
    let long = pattern(64 << 20);
    assert!(!writer.write(&long), "no socket takes as much at once");
    assert!(!writer.write(b"more"));
    let expected = [b"short", &*long, b"more", b"own"].concat();
    let reading = tokio::spawn(async move {
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.expect("reads");
        read
    });
    server.write_all(b"own").await.expect("writes");
    server.shutdown().await.expect("ends");
    assert!(reading.await.expect("reads") == expected, "every byte, in order");
    assert_eq!(server.shared.unsent().capacity(), 0, "a connection without a rest keeps no buffer");
}

#[tokio::test]
async fn flush_waits_until_the_client_has_taken_the_rest() {
    let (mut server, writer, mut client) = connected().await;
    assert!(!writer.write(&pattern(64 << 20)));
    let waited = tokio::time::timeout(Duration::from_millis(50), server.flush()).await;
    assert!(waited.is_err(), "the client reads nothing");
    let reading = tokio::spawn(async move {
        let mut read = vec![0; 64 << 20];
        client.read_exact(&mut read).await.expect("reads");
        client
    });
    server.flush().await.expect("flushes");
    let mut client = reading.await.expect("reads");
    client.write_all(b"abc").await.expect("writes");
    let mut read = [0; 3];
    server.read_exact(&mut read).await.expect("reads");
    assert_eq!((&read, writer.write(b"next")), (b"abc", true));
}

#[tokio::test]
async fn write_to_a_client_that_is_gone_is_an_error_of_the_flush() {
    let (mut server, writer, client) = connected().await;
    client.set_zero_linger().expect("is set");
    drop(client);
    while writer.write(b"x") {
        tokio::task::yield_now().await;
    }
    assert!(server.flush().await.is_err());
}
