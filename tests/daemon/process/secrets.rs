use std::os::unix::net::UnixDatagram;

use chainflume_devchain::{Action, Behaviour, DevChain, Effect, RawLog, RpcError, Rule, Server, Wire};
use futures_util::future::join_all;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

use crate::daemon::{CANARY, Daemon, Home};
use crate::flume::{all_sources, config, connect, devchain};
use crate::postgres;
use crate::receiver::FAST;
use crate::receiver::{Receiver, Reply, SECRET};
use crate::redis_server::RedisServer;

fn with_canaries(url: &str, name: &str) -> String {
    let (scheme, host) = url.split_once("://").expect("a url");
    let host = host.trim_end_matches('/');
    format!("{scheme}://{CANARY}-user:{CANARY}-word@{host}/v2/{CANARY}-{name}?key={CANARY}-query")
}

/// Whom messages and incidents are sent to.
struct Receivers {
    crm: Receiver,
    chat: Receiver,
}

impl Receivers {
    /// Each repeats what it was asked with, in all ways in which it can refuse it, and takes something now and then.
    async fn start() -> Self {
        let receivers = Self { crm: Receiver::start().await, chat: Receiver::start().await };
        for receiver in [&receivers.crm, &receivers.chat] {
            let key = format!("no {CANARY}-hook for {CANARY}-user:{CANARY}-word with {CANARY}-query");
            let mut replies = [500, 307, 404, 200].into_iter().cycle();
            receiver.rule(move |_| {
                let status = replies.next().expect("they go round");
                let elsewhere = format!("http://127.0.0.1:1/{CANARY}-elsewhere?key={CANARY}");
                let reply = Reply::status(status).with("location", elsewhere);
                Reply { body: key.clone(), ..reply.with("retry-after", format!("{CANARY}-later")) }
            });
        }
        receivers
    }

    /// Their tables, and one of an endpoint without a server.
    fn tables(&self) -> String {
        let url = |port: u16| with_canaries(&format!("http://127.0.0.1:{port}"), "hook");
        let endpoint = |name: &str, port: u16| {
            format!(
                "[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\nallow_hosts = [\"127.0.0.1\"]\n{FAST}",
                url(port)
            )
        };
        let crm = endpoint("crm", self.crm.port()) + "retry_attempts = 1\n";
        let alerts = format!("[alerts]\nwebhook = \"{}\"\n", url(self.chat.port()));
        alerts + &crm + &endpoint("nobody", 1)
    }
}

/// The configuration's tables, with a canary wherever a key or a password may be.
fn tables(server: &Server, redis: &RedisServer, receivers: &Receivers) -> String {
    let provider = |name: &str| {
        let http = with_canaries(&server.http_url(), &format!("http-{name}"));
        let ws = with_canaries(&server.ws_url(), &format!("ws-{name}"));
        format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{http}\"\nws = \"{ws}\"\n")
    };
    let providers = provider("one") + &provider("other");
    let text = config(server, &format!("ws = none\n{providers}"), &all_sources());
    let text = text.replacen(&format!("http = \"{}\"\n", server.http_url()), "", 1) + &receivers.tables();
    format!("[redis]\nurl = \"redis://default:{CANARY}-redis@127.0.0.1:{}/\"\n{text}", redis.port)
}

/// What an operator looks at when something is wrong, each searched for canaries where it is read. All at once, as each
/// waits for whatever is away.
async fn look(home: &Home, daemon: &Daemon) {
    for path in ["/", "/livez", "/readyz", "/metrics"] {
        daemon.get(path).await;
    }
    let commands = [&["status"][..], &["status", "--json"], &["check"]];
    join_all(commands.map(|command| home.run(command))).await;
}

/// The rest, of which nothing depends on what is wrong now.
async fn look_around(home: &Home) {
    let commands = [
        &["check", "--json"][..],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--json"],
        &["dead-letters", "show", "1"],
        &["webhooks", "list"],
        &["webhooks", "list", "--json"],
        &["views"],
    ];
    join_all(commands.map(|command| home.run(command))).await;
}

/// A node that repeats the key it was asked with, in each of the places where it can.
fn echo() -> [Effect; 4] {
    let key = format!(
        "key {CANARY}-http-one of {CANARY}-user with {CANARY}-query is over its limit, see http://x/{CANARY}-http-other"
    );
    let data = RpcError { data: Some(key.clone().into()), ..RpcError::new(-32005, "limited") };
    let headers = vec![("location".to_owned(), format!("http://127.0.0.1:1/{CANARY}-http"))];
    [
        Effect::Error(RpcError::new(-32000, &key)),
        Effect::Error(data),
        Effect::Wire(Wire::Status { status: 401, headers, body: key.clone() }),
        Effect::Wire(Wire::Html(key)),
    ]
}

/// Waits until everything confirmed is stored. The daemon is not ready all the while: it has receivers that take nothing.
async fn settled(daemon: &Daemon, chain: &DevChain) {
    let tip = chain.head().number - 2;
    let at = |_: u16, report: &serde_json::Value| {
        let dev = &report["chains"]["dev"];
        let sources = dev["sources"].as_object();
        dev["lastError"].is_null()
            && sources.is_some_and(|all| all.len() == 3 && all.values().all(|source| source["tip"] == tip))
    };
    daemon.until(&format!("well at block {tip}"), at).await;
}

/// Waits until the chain reports an error, then until it is over.
async fn trouble(home: &Home, daemon: &Daemon, chain: &DevChain, effect: Effect) {
    let fault = chain.faults().add(Rule::any(effect));
    chain.mine(1);
    daemon.until("in trouble", |_, report| report["chains"]["dev"]["lastError"].is_string()).await;
    look(home, daemon).await;
    fault.lift();
    settled(daemon, chain).await;
}

/// Every row of every table, as text.
async fn dump(pool: &PgPool) -> String {
    let tables: Vec<String> =
        sqlx::query_scalar("select format('%I.%I', schemaname, tablename) from pg_tables where schemaname !~ '^pg_|^information'")
            .fetch_all(pool)
            .await
            .expect("a list");
    assert!(tables.len() > 10, "{tables:?}");
    let mut rows = vec![];
    for table in tables {
        let sql = format!("select t::text from {table} t");
        rows.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(pool).await.expect("rows"));
    }
    rows.join("\n")
}

/// What systemd reads, which it does at once: a full socket would hold the daemon up.
fn read_until_stopping(socket: &UnixDatagram) -> String {
    let (mut message, mut notified) = ([0; 4096], String::new());
    while !notified.contains("STOPPING=1") {
        let bytes = socket.recv(&mut message).expect("it is open");
        notified += &String::from_utf8_lossy(&message[..bytes]);
    }
    notified
}

/// Passwords that are wrong and URLs that are none, one after the other.
async fn doors_that_do_not_open(home: &Home) {
    for (from, to) in [
        (format!("{CANARY}-redis@"), format!("{CANARY}-wrong@")),
        ("redis://".to_owned(), "redos://".to_owned()),
        ("http = \"http://".to_owned(), "http = \"httpx://".to_owned()),
        ("ws = \"ws://".to_owned(), "ws = \"://".to_owned()),
        (format!("url = \"http://{CANARY}"), format!("url = \"ftp://{CANARY}")),
        (format!("webhook = \"http://{CANARY}"), format!("webhook = \"ftp://{CANARY}")),
        ("secret = \"whsec_".to_owned(), format!("secret = \"{CANARY}_")),
    ] {
        home.rewrite(&from, &to);
        assert_ne!(home.run(&["check"]).await.code, Some(0), "{to}");
        // With a wrong password for Redis a daemon starts, and its messages wait.
        if !to.contains("wrong") {
            assert_ne!(home.run(&["run"]).await.code, Some(0), "{to}");
        }
        home.rewrite(&to, &from);
    }
    home.rewrite("postgres://", "postgres://canary:canary-pg@127.0.0.1:1/canary-db?application_name=");
    assert_ne!(home.run(&["check"]).await.code, Some(0));
}

async fn socket_and_sink_go_away(
    home: &Home,
    daemon: &Daemon,
    (chain, redis): (&DevChain, &mut RedisServer),
) {
    // The socket is closed, and refused when it is opened again.
    chain.faults().set(|behaviour: &mut Behaviour| behaviour.ws_refuse = true);
    chain.faults().disconnect_ws();
    daemon.until("polls", |_, report| report["chains"]["dev"]["websocket"] == false).await;
    look(home, daemon).await;
    chain.faults().set(|behaviour: &mut Behaviour| behaviour.ws_refuse = false);
    chain.mine(1);
    settled(daemon, chain).await;

    redis.kill();
    chain.mine(3);
    let waits = |_: u16, report: &serde_json::Value| report["sinks"]["redis"]["lastError"].is_string();
    daemon.until("redis is away", waits).await;
    look(home, daemon).await;
    redis.restart();
    let delivered = |_: u16, report: &serde_json::Value| {
        report["sinks"]["redis"]["lag"] == 0 && report["sinks"]["redis"]["lastError"].is_null()
    };
    daemon.until("all is delivered", delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_whatever_fails() {
    let url = postgres::empty_database().await;
    let password = format!("{CANARY}-redis");
    let mut redis = RedisServer::start_with(&["--requirepass", &password]);
    let (chain, server) = devchain(92, 40).await;
    let home = Home::bare();
    let receivers = Receivers::start().await;
    home.write(&tables(&server, &redis, &receivers), Some(&url));
    let systemd = UnixDatagram::bind(home.path("notify")).expect("the folder takes a socket");
    let systemd = std::thread::spawn(move || read_until_stopping(&systemd));
    let socket = home.path("notify").display().to_string();
    let mut daemon = home.start_as(&["run", "-vv"], &[("NOTIFY_SOCKET", &socket)]);

    settled(&daemon, &chain).await;
    look(&home, &daemon).await;
    let odd = RawLog::new(
        chainflume_devchain::STAKE_VAULT,
        &[alloy_primitives::keccak256("Staked(address,uint256)")],
        &[1],
    );
    chain.mine_with(vec![vec![Action::Raw(Box::new(odd))]]);
    chain.reorg(3, 4);
    settled(&daemon, &chain).await;
    for effect in echo() {
        trouble(&home, &daemon, &chain, effect).await;
    }

    socket_and_sink_go_away(&home, &daemon, (&chain, &mut redis)).await;

    let address = server.address().to_string();
    server.stop().await;
    daemon.until("away", |_, report| report["chains"]["dev"]["lastError"].is_string()).await;
    look(&home, &daemon).await;
    home.run(&["backfill", "--source", "nft", "--from", "0", "--to", "3"]).await;
    let server = chain.serve(&address).await.expect("the port is free");
    settled(&daemon, &chain).await;

    look_around(&home).await;
    let pool = connect(&url).await;
    sqlx::query("alter table source_groups rename to away").execute(&pool).await.expect("renamed");
    chain.mine(1);
    daemon.until("no table", |_, report| report["chains"]["dev"]["lastError"].is_string()).await;
    look(&home, &daemon).await;
    sqlx::query("alter table away rename to source_groups").execute(&pool).await.expect("renamed");
    settled(&daemon, &chain).await;

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended(std::time::Duration::from_secs(20)).await, Some(0));
    assert!(daemon.log().contains("step failed"), "{}", daemon.log());
    assert!(!dump(&pool).await.contains(CANARY));
    let refused = "select count(*) from dead_letters where sink = 'webhook:crm'";
    let refused: i64 = sqlx::query_scalar(refused).fetch_one(&pool).await.expect("a count");
    let heard = |receiver: &Receiver| receiver.got().len();
    assert!(refused > 0 && heard(&receivers.crm) > 4 && heard(&receivers.chat) > 0, "{refused} refused");
    let notified = systemd.join().expect("it reads");
    assert!(notified.contains("READY=1") && !notified.contains(CANARY), "{notified}");

    doors_that_do_not_open(&home).await;
    drop(server);
}
