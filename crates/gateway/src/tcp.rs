//! The connections of clients below their protocol: bounds for writes, and writes beside the task of a connection.

mod shared;
mod stall;

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

pub use shared::{ClientStream, DirectWriter};
pub use stall::{STALL_TIMEOUT, Stall, is_stall, is_stalled};

/// How long a client may take to read how its connection ends, where it is slow, or does not come again by itself.
pub const LAST_WORDS: Duration = Duration::from_secs(10);
/// The same of any other client.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes that the kernel takes for a client before its network has taken those before. Without a bound they are 4 MiB, and the socket
/// counts as full until a third of them is gone: a client that reads 60 kB a second would seem to read nothing for twenty seconds.
/// Twice what such a client has to read in time ([`STALL_TIMEOUT`]).
const UNSENT_BYTES: u32 = 32 << 10;

/// Sets how the kernel sends to a client: at once, and with few bytes that wait.
pub fn set_up(stream: &TcpStream) {
    let _unset = stream.set_nodelay(true);
    let _unset = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn socket_takes_more_as_soon_as_a_slow_client_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (mut stream, _) = listener.accept().await.expect("a client");
        set_up(&stream);
        // About 160 kB a second.
        let reader = tokio::spawn(async move {
            let mut bytes = vec![0; 16 << 10];
            while client.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let (began, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        let part = vec![0; 16 << 10];
        while began.elapsed() < Duration::from_secs(2) {
            let wrote = tokio::time::timeout(Duration::from_secs(5), stream.write_all(&part)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if wrote.is_err() {
                break;
            }
        }
        reader.abort();
        assert!(longest < Duration::from_secs(1), "{longest:?} without a byte");
    }
}
