//! What the daemon reports to systemd.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// What systemd would read.
pub struct Systemd {
    socket: UnixDatagram,
    notified: Vec<String>,
}

impl Systemd {
    /// Its address for a daemon.
    pub fn at(path: &Path) -> Self {
        Self::on(UnixDatagram::bind(path).expect("the folder takes a socket"))
    }

    /// The same on a socket that has an address.
    pub fn on(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it is ours");
        Self { socket, notified: Vec::new() }
    }

    /// Notifications since [`Self::forget`].
    pub fn notified(&self) -> &[String] {
        &self.notified
    }

    /// Forgets the notifications until now.
    pub fn forget(&mut self) {
        self.socket.set_nonblocking(true).expect("it is ours");
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).expect("it is ours");
        self.notified.clear();
    }

    /// Reads on until a line satisfies `is`.
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut message = [0; 4096];
        loop {
            if let Ok(bytes) = self.socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
                let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                let found = lines.iter().any(|line| is(line));
                self.notified.extend(lines);
                if found {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "never {what}: {:#?}", self.notified);
        }
    }
}
