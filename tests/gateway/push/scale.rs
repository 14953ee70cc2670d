//! Two servers of one database behind nginx, with the configuration that operators are given.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wire::{Frame, Socket};
use super::*;
use crate::wait::{until_equal, until_ok};

/// Clients of a crowd, beside those in other languages.
const CROWD: usize = 500;
const CONFIG: &str = include_str!("../../../config/nginx/chainflume.conf");

/// nginx on a port of its own, before the servers on `ports`. It ends with the test.
struct Nginx {
    port: u16,
    _folder: tempfile::TempDir,
    _child: Child,
}

impl Nginx {
    async fn start(ports: [u16; 2]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("cf-nginx-").tempdir_in("/tmp").expect("/tmp takes a folder");
        let (port, place) = (free_port(), folder.path().display().to_string());
        let ours = [("8081", ports[0]), ("8082", ports[1]), ("listen 8080", port)];
        let text = ours.iter().fold(CONFIG.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            let to =
                if from.starts_with("listen") { format!("listen 127.0.0.1:{to}") } else { to.to_string() };
            text.replace(from, &to)
        });
        let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
            .collect();
        let main = format!(
            "{user}daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log stderr;\nevents {{ worker_connections 4096; }}\n\
             http {{\n{temporary}{text}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, main).expect("the folder takes a file");
        let known = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "nginx"];
        let program = known.iter().find(|path| std::path::Path::new(path).exists()).unwrap_or(&"nginx");
        let mut command = Command::new(program);
        command.args(["-p", &*place, "-e", "stderr", "-c"]).arg(&file).kill_on_drop(true);
        let child = command.spawn().expect("nginx is installed (apt-get install nginx-light)");
        let connect = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        until_ok("nginx listens", connect).await;
        Self { port, _folder: folder, _child: child }
    }
}

/// Clients that follow the room of the chain through one address and come back with their last position whenever they are cut off; what
/// each of them has when it has the message at the position that `end` names.
pub async fn crowd(
    port: u16,
    count: usize,
    end: &watch::Receiver<Option<String>>,
) -> Vec<JoinHandle<Vec<String>>> {
    let (joined, mut joins) = tokio::sync::mpsc::channel(count);
    let clients = (0..count).map(|_| tokio::spawn(follow(port, end.clone(), joined.clone()))).collect();
    for _ in 0..count {
        tokio::time::timeout(WAIT_LIMIT, joins.recv()).await.expect("all join").expect("they are there");
    }
    clients
}

async fn follow(
    port: u16,
    mut end: watch::Receiver<Option<String>>,
    joined: tokio::sync::mpsc::Sender<()>,
) -> Vec<String> {
    let (mut got, mut last): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let Some(mut socket) = Socket::try_open(port).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut op = json!({ "id": 1, "op": "subscribe", "rooms": [ROOM] });
        last.iter().for_each(|last| op["since"] = json!(last));
        socket.send(1, op.to_string().as_bytes()).await;
        loop {
            let wanted = end.borrow_and_update().clone();
            if wanted.is_some() && got.last() == wanted.as_ref() {
                return got;
            }
            let frame = tokio::select! {
                frame = socket.next() => frame,
                Ok(()) = end.changed() => continue,
            };
            let Frame::Text(frame) = frame else { break };
            assert!(frame["gap"].is_null() && frame["ok"] != false, "{frame}");
            let position = frame["position"].as_str().expect("a position").to_owned();
            if frame["ok"] == true {
                if last.is_none() {
                    joined.send(()).await.expect("the test waits");
                    last = Some(position);
                }
                continue;
            }
            got.push(position.clone());
            last = Some(position);
        }
    }
}

/// How many clients a server has, by its metrics.
async fn clients(daemon: &Daemon) -> f64 {
    let of = async |protocol: &str| {
        let series = format!("chainflume_push_connections{{protocol=\"{protocol}\"}}");
        daemon.metric(&series).await.unwrap_or(0.0)
    };
    of("websocket").await + of("sse").await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_nginx_follow_although_a_server_is_killed() {
    let tables = |name: &str| format!("[server.auth]\nmode = \"none\"\n[standby]\nname = \"{name}\"\n");
    let gate = Gate::new(74, &tables("one")).await;
    let (second, second_port) = (Home::bare(), free_port());
    let listen = format!("[server]\nlisten = \"127.0.0.1:{second_port}\"\n");
    let chain_tables = chain(&gate._server, "", &all_sources());
    second.write(&format!("{listen}{}{chain_tables}", tables("two")), Some(&gate.url));
    let leader = gate.start().await;
    let standby = second.start();
    standby.until("a standby", |status, report| status == 200 && report["role"] == "standby").await;
    let nginx = Nginx::start([gate.port, second_port]).await;
    gate.mine(&leader, 2).await;
    let before = gate.outbox().await.len();

    let mut followers = Vec::new();
    for transport in ["websocket", "sse", "websocket", "sse"] {
        let mut command = node("client.mjs");
        command.args([transport, &*format!("http://127.0.0.1:{}", nginx.port), ROOM]);
        let mut client = Client::start(&mut command);
        while client.next().await["status"] != "connected" {}
        followers.push(client);
    }
    let (end, ending) = watch::channel(None);
    let crowd = crowd(nginx.port, CROWD, &ending).await;
    assert!(clients(&leader).await >= 1.0 && clients(&standby).await >= 1.0, "nginx uses both servers");
    gate.mine(&leader, 4).await;
    leader.kill_9().await;
    gate.chain.mine(4);
    gate.chain.reorg(5, 6);
    standby.until_tip(gate.chain.head().number - 2).await;
    let expected: Vec<Value> =
        gate.outbox().await.drain(before..).map(|(position, _)| json!(position)).collect();
    for client in &mut followers {
        let got = client.collect(expected.len()).await;
        let got: Vec<Value> = got.iter().map(|frame| frame["position"].clone()).collect();
        assert_eq!(got, expected);
    }
    end.send_replace(expected.last().and_then(Value::as_str).map(str::to_owned));
    for client in crowd {
        let got =
            tokio::time::timeout(WAIT_LIMIT, client).await.expect("it gets everything").expect("no panic");
        assert_eq!(got, expected);
    }
    until_clients(&standby, 4.0).await;
    standby.stop_well().await;
}

/// Waits until a server has so many clients.
async fn until_clients(daemon: &Daemon, count: f64) {
    until_equal(&format!("a server has {count} clients"), count, async || clients(daemon).await).await;
}

/// `make figures-push`: how long 2,000 clients take to have everything that they missed while their server was killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure, of a release build"]
async fn figures_of_a_recovery_storm() {
    let tables = "[server.auth]\nmode = \"none\"\n";
    let gate = Gate::new(80, tables).await;
    let daemon = gate.start().await;
    let (end, ending) = watch::channel(None);
    let crowd = crowd(gate.port, 2_000, &ending).await;
    let before = gate.outbox().await.len();
    gate.mine(&daemon, 2).await;
    daemon.kill_9().await;
    gate.chain.mine(60);
    let began = Instant::now();
    let daemon = gate.start().await;
    let (expected, started) = (gate.outbox().await.split_off(before), began.elapsed());
    end.send_replace(expected.last().map(|(position, _)| position.clone()));
    for client in crowd {
        let got =
            tokio::time::timeout(WAIT_LIMIT, client).await.expect("it gets everything").expect("no panic");
        assert!(got.iter().eq(expected.iter().map(|(position, _)| position)));
    }
    eprintln!(
        "2,000 clients had {} messages each {:?} after the start; the server had them after {started:?}",
        expected.len(),
        began.elapsed()
    );
    daemon.stop_well().await;
}
