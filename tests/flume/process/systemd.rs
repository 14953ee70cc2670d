use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use chainflume::devchain::{Effect, Rule, Wire};

use crate::daemon::Home;
use crate::flume::{all_sources, devchain};
use crate::postgres;

/// What systemd would read.
struct Systemd {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Systemd {
    /// Reads on until a line satisfies `is`.
    fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut message = [0; 4096];
        loop {
            if let Ok(bytes) = self.socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
                let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                let found = lines.iter().any(|line| is(line));
                self.told.extend(lines);
                if found {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "never {what}: {:#?}", self.told);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_it_is_ready_only_when_it_is() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(81, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).expect("the folder takes a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it is ours");
    let mut systemd = Systemd { socket, told: Vec::new() };

    // It looks at the node before it starts: chain id, block 0 and head. After that the node says nothing.
    let hang = chain.faults().add(Rule::any(Effect::Wire(Wire::Hang)).after(3));
    let mut daemon = home.start_with(&[("NOTIFY_SOCKET", path.to_str().expect("plain"))]);
    systemd.until("failing", |line| line == "STATUS=dev failing");
    systemd.until("a ping while it waits for the node", |line| line == "WATCHDOG=1");
    assert!(!systemd.told.iter().any(|line| line == "READY=1"), "{:?}", systemd.told);
    hang.lift();
    systemd.until("ready", |line| line == "READY=1");
    systemd.until("live", |line| line == "STATUS=dev live at block 48, lag 0");
    let begun = systemd.told.len();
    for _ in 0..2 {
        systemd.until("a ping", |line| line == "WATCHDOG=1");
    }
    assert!(!systemd.told[begun..].iter().any(|line| line == "READY=1"), "it is said once");
    daemon.signal(rustix::process::Signal::TERM);
    systemd.until("stopping", |line| line == "STOPPING=1");
    assert_eq!(daemon.ended(Duration::from_secs(10)).await, Some(0));
}
