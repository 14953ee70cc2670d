//! Each loop of the daemon is made to panic and to hang. The daemon runs in a process of this test binary, which calls the
//! library with [`LoopFaults`]; the program has no way to them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chainflume::app::{self, Loaded};
use chainflume::cli::exit::Exit;
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_devchain::{DevChain, Server};
use chainflume_ops::supervise::{LoopFault, LoopFaults};
use chainflume_ops::telemetry;
use serde_json::Value;
use tokio::process::Command;

use crate::daemon::{Daemon, Home, agrees, chain as chain_tables};
use crate::flume::{all_sources, devchain};
use crate::receiver::{Receiver, webhook};
use crate::redis_server::RedisServer;
use crate::systemd::Systemd;
use crate::wait::{until_async, until_equal};

/// Names the file with the present trouble.
const HURTS: &str = "CHAINFLUME_TEST_HURTS";
/// A loop hangs after so long in these tests: more than a loop that is well needs on a busy machine.
const HANGS_AFTER: Duration = Duration::from_secs(8);

#[test]
#[ignore = "a process of its own for the tests beside it, which start it"]
fn a_daemon_that_is_hurt() {
    let Some(file) = std::env::var_os(HURTS).map(PathBuf::from) else { return };
    let path = PathBuf::from(std::env::var_os("CHAINFLUME_CONFIG").expect("it is set"));
    let config = Config::load(&path, &ProcessEnvironment).expect("it is right");
    telemetry::init(&app::telemetry_settings(&config.log)).expect("once");
    let said = Arc::new(Mutex::new(String::new()));
    let read = said.clone();
    std::thread::spawn(move || {
        loop {
            *read.lock().expect("nothing panics here") = std::fs::read_to_string(&file).unwrap_or_default();
            std::thread::park_timeout(Duration::from_millis(5));
        }
    });
    let what = move |name: &str| said_of(name, &said.lock().expect("nothing panics here"));
    let hurts = LoopFaults { what: Arc::new(what), hung_after: HANGS_AFTER };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(app::run_hurt(Loaded { path, config }, Some(hurts)));
    let exit = outcome.map_or_else(|error| Exit::of(&error.into()), |()| Exit::Done);
    telemetry::flush(Duration::from_secs(5));
    std::process::exit(exit.code().into());
}

/// The file has a line for each loop that is hurt: what is done to it, and its name.
fn said_of(name: &str, file: &str) -> LoopFault {
    let words = file.lines().filter_map(|line| line.split_once(' '));
    let mut hurts = words.filter(|(_, of)| *of == name).map(|(what, _)| what);
    match hurts.next() {
        Some("panic") => LoopFault::Panic,
        Some("hang") => LoopFault::Hang,
        Some("return") => LoopFault::Return,
        _ => LoopFault::None,
    }
}

/// A daemon with every loop there is, and what it lives on.
struct House {
    chain: DevChain,
    home: Home,
    _parts: (Server, RedisServer, Receiver),
}

impl House {
    async fn new(seed: u64) -> Self {
        let (chain, server) = devchain(seed, 50).await;
        let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
        let home = Home::bare();
        let audit = "[chain.audit]\nevery = \"100ms\"\n";
        let tables = chain_tables(&server, "", &format!("{audit}{}", all_sources()));
        let sinks = webhook("crm", &receiver, "");
        // No server listens there: the sender of alerts has something to do.
        let alerts = "[alerts]\nwebhook = \"http://127.0.0.1:9/chat\"\n";
        let inbound = "[[inbound]]\nname = \"hints\"\nprovider = \"alchemy\"\nsecret = \"of the tests\"\nchain = \"dev\"\n";
        let public = "[server]\nlisten = \"127.0.0.1:0\"\n[server.auth]\nmode = \"none\"\n";
        let schedule = "[[schedule]]\nname = \"sync\"\ncron = \"0 0 * * *\"\ntype = \"sync.due\"\n";
        home.write(
            &format!(
                "{alerts}{inbound}{schedule}{public}[redis]\nurl = \"{}\"\n{tables}{sinks}",
                redis.url()
            ),
            None,
        );
        Self { chain, home, _parts: (server, redis, receiver) }
    }

    /// A daemon that can be hurt, with these variables.
    fn start(&self, variables: &[(&str, &str)]) -> Daemon {
        self.hurt("", &[]);
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--ignored", "--exact", "--nocapture", "process::hurt::a_daemon_that_is_hurt"]);
        Home::in_the_dark(&mut command);
        command
            .env("CHAINFLUME_CONFIG", self.home.path("chainflume.toml"))
            .env(HURTS, self.home.path("hurts"));
        command.envs(variables.iter().copied());
        Daemon::new(command, self.home.port)
    }

    /// This is done to these loops from now on, and nothing to others.
    fn hurt(&self, what: &str, loops: &[&str]) {
        let lines: String = loops.iter().map(|name| format!("{what} {name}\n")).collect();
        std::fs::write(self.home.path("hurts.new"), lines).expect("the folder takes a file");
        std::fs::rename(self.home.path("hurts.new"), self.home.path("hurts")).expect("within a folder");
    }

    /// It stores what is new, and all of it is right.
    async fn goes_on(&self, daemon: &Daemon) {
        self.chain.mine(5);
        let tip = self.chain.head().number - 2;
        daemon.until_tip(tip).await;
        agrees(&self.chain, &self.home.private_url(), tip).await;
    }
}

/// What is wrong with a loop.
fn troubles<'a>(report: &'a Value, name: &str) -> Vec<&'a str> {
    let reasons = report["loops"][name]["notReady"].as_array();
    reasons.into_iter().flatten().filter_map(Value::as_str).collect()
}

const BESIDE: [&str; 21] = [
    "access",
    "alerts",
    "audit dev",
    "contracts dev",
    "feed",
    "feed listener",
    "feed watch",
    "follow dev",
    "inbound",
    "issuer keys",
    "leases",
    "limits",
    "listen",
    "outbox trim",
    "outbox watch",
    "probe",
    "public server",
    "room index",
    "schedule",
    "sink redis",
    "systemd",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_loop_is_red_at_once_and_starts_again() {
    let house = House::new(101).await;
    let mut daemon = house.start(&[]);
    let report = daemon.until_tip(48).await;
    let loops: BTreeSet<&str> =
        report["loops"].as_object().expect("by name").keys().map(String::as_str).collect();
    let known = [&BESIDE[..], &["admin", "chain dev", "postgres", "sink webhook:crm"]].concat();
    assert_eq!(loops, known.iter().copied().collect(), "each loop is hurt below");

    for name in [&BESIDE[..], &["chain dev", "sink webhook:crm"]].concat() {
        for (what, reason) in
            [("panic", "panicked and is started again"), ("return", "returned and is started again")]
        {
            house.hurt(what, &[name]);
            let is_red = |status, report: &Value| status == 503 && troubles(report, name) == [reason];
            let report = daemon.until(&format!("red: {name} {reason}"), is_red).await;
            assert!(
                name != "chain dev" || what == "return" || report["chains"]["dev"]["state"] == "failing",
                "{report}"
            );
            house.hurt("", &[]);
        }
    }
    house.hurt("panic", &["admin"]);
    daemon.until_printed("admin is hurt on purpose").await;
    house.hurt("", &[]);
    house.goes_on(&daemon).await;
    let (_, report) = daemon.report().await;
    for (name, one) in report["loops"].as_object().expect("by name") {
        let failures = one["failures"].as_u64().expect("a count");
        assert!(failures >= if name == "admin" { 1 } else { 2 } || name == "postgres", "{name}: {failures}");
        let sample = format!("chainflume_loop_failures_total{{loop=\"{name}\",how=\"panicked\"}}");
        assert_eq!(daemon.metric(&sample).await >= Some(1.0), name != "postgres", "{name}");
    }
    let status = house.home.run(&["status"]).await.fine();
    assert!(!status.contains("  loop "), "{status}");
    daemon.stop_well().await;
}

/// A daemon on two nodes of a chain, with everything that runs beside the loop of a chain.
async fn with_two_nodes(seed: u64) -> House {
    let (chain, server) = devchain(seed, 50).await;
    let other = chain.another_node().serve("127.0.0.1:0").await.expect("a free port");
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let provider = |(name, server): (&str, &Server)| {
        let (http, ws) = (server.http_url(), server.ws_url());
        format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{http}\"\nws = \"{ws}\"\n")
    };
    let providers: String = [("one", &server), ("other", &other)].map(provider).concat();
    let home = Home::bare();
    let keys = "chain_id = 31337\nreorg_window = 16\nbackend_lag = \"0s\"\nbackend_lag_blocks = 0\nblock_time = \"200ms\"\n\
                poll_interval = \"200ms\"\nrequest_timeout = \"2s\"\n[chain.failover]\nprobe_interval = \"100ms\"\n";
    home.write(&format!("[[chain]]\nname = \"dev\"\n{keys}{providers}{}", all_sources()), None);
    // The other node lives as long as the test.
    std::mem::forget(other);
    House { chain, home, _parts: (server, redis, receiver) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_task_beside_a_chain_has_its_loop_started_again() {
    let ends = "returned although";
    let tasks: [(&str, &[(&str, &str)]); 5] = [
        ("probes dev", &[("return", ends)]),
        ("websocket dev", &[("return", ends)]),
        ("readers dev", &[("return", ends)]),
        ("write-ahead dev", &[("return", "returned nothing on purpose")]),
        // Views may end: they are created once.
        ("views dev", &[]),
    ];
    for (seed, (name, more)) in (104..).zip(tasks) {
        let house = with_two_nodes(seed).await;
        let mut daemon = house.start(&[]);
        daemon.until_tip(48).await;
        fails_and_starts_again(&house, &mut daemon, ("chain dev", name), more).await;
        daemon.stop_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sender_of_alerts_has_its_loop_started_again() {
    let house = House::new(109).await;
    let mut daemon = house.start(&[]);
    daemon.until_tip(48).await;
    let more = [("return", "returned although nothing stopped it")];
    fails_and_starts_again(&house, &mut daemon, ("alerts", "alert sender"), &more).await;
    daemon.stop_well().await;
}

/// A task beside a loop panics, hangs and fails in `more` ways, each with its log line; each time the loop is started
/// again, and with it the task.
async fn fails_and_starts_again(
    house: &House,
    daemon: &mut Daemon,
    (of, name): (&str, &str),
    more: &[(&str, &str)],
) {
    let is_red = |status: u16, report: &Value| {
        status == 503 && troubles(report, of) == ["panicked and is started again"]
    };
    let mut failures = 0.0;
    let (panics, hangs) =
        (format!("{name} is hurt on purpose"), format!("the task `{name}` has not turned for "));
    let ways = [("panic", panics.as_str()), ("hang", hangs.as_str())];
    for (what, said) in ways.iter().chain(more).copied() {
        if name == "views dev" {
            // Views are created when a chain's loop begins.
            house.hurt("panic", &["chain dev"]);
            daemon.until("red", is_red).await;
            failures += 1.0;
        }
        house.hurt(what, &[name]);
        if ["readers dev", "write-ahead dev"].contains(&name) {
            // Far behind the head there is history to read.
            house.chain.mine(400);
        }
        daemon.until_printed(said).await;
        daemon.until(&format!("red: {name}, {what}"), is_red).await;
        house.hurt("", &[]);
        house.goes_on(daemon).await;
        let sample = format!("chainflume_loop_failures_total{{loop=\"{of}\",how=\"panicked\"}}");
        let counted = daemon.metric(&sample).await.expect("it failed");
        assert!(counted > failures, "{name}, {what}: {counted}");
        failures = counted;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_answer_of_the_admin_address_is_one_requests_failure() {
    let house = House::new(110).await;
    let daemon = house.start(&[]);
    daemon.until_tip(48).await;
    for (what, how, counted) in
        [("panic", "panicked", "panicked"), ("hang", "exceeded its time limit", "hung")]
    {
        house.hurt(what, &["admin answer"]);
        let text = format!("the answer to this request {how}; see the log of the daemon\n");
        until_alive_is(&daemon, (500, &text)).await;
        house.hurt("", &[]);
        until_alive_is(&daemon, (200, "ok\n")).await;
        let sample = format!("chainflume_loop_failures_total{{loop=\"admin answer\",how=\"{counted}\"}}");
        assert!(daemon.metric(&sample).await >= Some(1.0), "{what}");
        let (_, report) = daemon.report().await;
        assert_eq!(report["loops"]["admin"]["failures"], 0, "{report}");
        house.goes_on(&daemon).await;
    }
    daemon.stop_well().await;
}

/// Waits until `/livez` answers so.
async fn until_alive_is(daemon: &Daemon, (status, text): (u16, &str)) {
    let expected = Some((status, text.to_owned()));
    until_equal(&format!("/livez answers {expected:?}"), expected, async || daemon.try_get("/livez").await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_loop_is_red_and_starves_the_watchdog_until_it_turns() {
    let house = House::new(102).await;
    let path = house.home.path("notify");
    let mut systemd = Systemd::at(&path);
    let daemon = house.start(&[("NOTIFY_SOCKET", path.to_str().expect("plain"))]);
    daemon.until_tip(48).await;
    systemd.until("a ping", |line| line == "WATCHDOG=1");

    let hangs = |report: &Value, name: &str| {
        troubles(report, name).iter().any(|reason| reason.starts_with("its loop has not turned for "))
    };
    house.hurt("hang", &["chain dev"]);
    daemon.until("red", |status, report| status == 503 && hangs(report, "chain dev")).await;
    let status = house.home.run(&["status"]).await.fine();
    assert!(status.contains("  loop chain dev: its loop has not turned for "), "{status}");
    systemd.forget();
    for _ in 0..3 {
        systemd.until("a status", |line| line.starts_with("STATUS="));
    }
    assert!(!systemd.notified().iter().any(|line| line == "WATCHDOG=1"), "{:?}", systemd.notified());
    until_alive_is(&daemon, (503, "hung: chain dev\n")).await;
    house.hurt("", &[]);
    systemd.until("a ping", |line| line == "WATCHDOG=1");
    house.goes_on(&daemon).await;

    let all = [&BESIDE[..], &["sink webhook:crm", "postgres"]].concat();
    house.hurt("hang", &all);
    daemon
        .until("all red", |status, report| status == 503 && all.iter().all(|name| hangs(report, name)))
        .await;
    house.hurt("", &[]);
    house.goes_on(&daemon).await;
    // The loop that answers cannot report that it hangs.
    house.hurt("hang", &["admin"]);
    systemd.until("fed no more", |line| line.starts_with("STATUS="));
    until_async("the watchdog of systemd gets no ping between two reports", async || {
        systemd.forget();
        for _ in 0..2 {
            systemd.until("a status", |line| line.starts_with("STATUS="));
        }
        !systemd.notified().iter().any(|line| line == "WATCHDOG=1")
    })
    .await;
    house.hurt("", &[]);
    house.goes_on(&daemon).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_cannot_be_started_again_ends_the_process_with_70() {
    let house = House::new(103).await;
    let mut daemon = house.start(&[]);
    daemon.until_tip(48).await;
    house.hurt("panic", &["postgres"]);
    assert_eq!(daemon.ended(Duration::from_secs(30)).await, Some(70), "{}", daemon.log());
    assert!(daemon.log().contains("cannot be started again; the daemon ends"), "{}", daemon.log());
    let daemon = house.start(&[]);
    house.goes_on(&daemon).await;
    daemon.stop_well().await;
}
