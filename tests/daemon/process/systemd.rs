use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use chainflume_devchain::{Effect, Rule, Wire};

use crate::daemon::Home;
use crate::flume::{all_sources, devchain};
use crate::postgres;
use crate::systemd::Systemd;

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_it_is_ready_only_when_it_is() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(81, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let path = home.path("notify");
    let mut systemd = Systemd::at(&path);

    // It looks at the node before it starts: chain id, block 0 and head. After that the node does not answer.
    let hang = chain.faults().add(Rule::any(Effect::Wire(Wire::Hang)).after(3));
    let mut daemon = home.start_with(&[("NOTIFY_SOCKET", path.to_str().expect("plain"))]);
    systemd.until("failing", |line| line == "STATUS=dev failing");
    systemd.until("a ping while it waits for the node", |line| line == "WATCHDOG=1");
    assert!(!systemd.notified().iter().any(|line| line == "READY=1"), "{:?}", systemd.notified());
    hang.lift();
    systemd.until("ready", |line| line == "READY=1");
    systemd.until("live", |line| line == "STATUS=dev live at block 48, lag 0");
    let begun = systemd.notified().len();
    for _ in 0..2 {
        systemd.until("a ping", |line| line == "WATCHDOG=1");
    }
    assert!(!systemd.notified()[begun..].iter().any(|line| line == "READY=1"), "it is sent once");
    daemon.signal(rustix::process::Signal::TERM);
    systemd.until("stopping", |line| line == "STOPPING=1");
    assert_eq!(daemon.ended(Duration::from_secs(10)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_log_socket_delays_nothing_and_its_loss_is_logged() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(82, 50).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).expect("the folder takes a socket");
    let crowd = UnixDatagram::unbound().expect("a socket");
    crowd.set_nonblocking(true).expect("it is ours");
    while crowd.send_to(b"FULL=1", &path).is_ok() {}

    let variables = [("NOTIFY_SOCKET", path.to_str().expect("plain"))];
    let daemon = home.start_with(&variables);
    daemon.until_tip(48).await;
    chain.mine(10);
    daemon.until_tip(58).await;
    daemon.stop_well().await;

    let mut daemon = home.start_with(&variables);
    daemon.until_tip(58).await;
    // It is ready, and could not report it.
    let mut systemd = Systemd::on(socket);
    systemd.until("ready", |line| line == "READY=1");
    daemon.signal(rustix::process::Signal::TERM);
    systemd.until("stopping", |line| line == "STOPPING=1");
    assert_eq!(daemon.ended(Duration::from_secs(10)).await, Some(0));
}
