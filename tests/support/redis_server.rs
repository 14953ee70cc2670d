//! A Redis server of one test, and a wire to it that can be cut. Both are removed however the test ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Starts and kills the server on command. At the end of its input, which comes however the test ends, it kills the
/// server and removes the folder. The number of a process that was killed may be another's soon, so it is forgotten.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
dir=$1
shift
while read -r word; do
    case $word in
        start) redis-server "$@" >>"$dir/log" 2>&1 </dev/null & server=$! ;;
        kill) [ -z "$server" ] || { kill -KILL "$server"; wait "$server" 2>/dev/null; }; server= ;;
        freeze) kill -STOP "$server" ;;
        thaw) kill -CONT "$server" ;;
    esac
    echo done
done
[ -z "$server" ] || { kill -KILL "$server"; wait "$server"; } 2>/dev/null
rm -rf "$dir"
"#;

// A server that is killed and starts again needs its port again. Of the ports that the system assigns, another server of these tests
// could get it meanwhile, and sentinels would then find the dead master alive.
pub use crate::daemon::free_port;

static SERVERS: AtomicU64 = AtomicU64::new(0);

/// A server on the loopback, without persistence by default.
pub struct RedisServer {
    pub port: u16,
    folder: PathBuf,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _supervisor: Child,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options, in which `DIR` is replaced by the server's folder and `PORT` by its port.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_in(own_folder(), options)
    }

    pub fn start_in(folder: PathBuf, options: &[&str]) -> Self {
        let (port, dir) = (free_port(), folder.display().to_string());
        let usual =
            ["--bind", "127.0.0.1", "--port", "PORT", "--dir", "DIR", "--save", "", "--appendonly", "no"];
        let options = usual.iter().chain(options);
        let options = options.map(|option| option.replace("DIR", &dir).replace("PORT", &port.to_string()));
        Self::launch(folder, port, options.collect())
    }

    /// With these lines as its configuration file, which the server may rewrite.
    pub fn start_sentinel(lines: &str) -> Self {
        let (port, folder) = (free_port(), own_folder());
        let file = folder.join("sentinel.conf");
        let usual = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.display());
        std::fs::write(&file, usual + lines).expect("a folder");
        Self::launch(folder, port, vec![file.display().to_string(), "--sentinel".to_owned()])
    }

    fn launch(folder: PathBuf, port: u16, arguments: Vec<String>) -> Self {
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "redis-of-the-tests"])
            .arg(&folder)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is everywhere");
        let orders = supervisor.stdin.take().expect("piped");
        let answers = BufReader::new(supervisor.stdout.take().expect("piped"));
        let mut server = Self { port, folder, orders, answers, _supervisor: supervisor };
        server.order("start");
        server.wait_until_ready();
        server
    }

    /// Like a power failure: nothing is written, and no client is notified.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Starts it again with the contents of its disk.
    pub fn restart(&mut self) {
        self.order("start");
        self.wait_until_ready();
    }

    /// Like a machine that hangs: connections remain, without answers.
    pub fn freeze(&mut self) {
        self.order("freeze");
    }

    pub fn thaw(&mut self) {
        self.order("thaw");
    }

    pub fn is_up(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The end of what it logged.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).expect("a url");
        let limit = Duration::from_secs(20);
        let deadline = Instant::now() + limit;
        // The library's half second is too short for a server that shares two cores with the other tests.
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(limit));
        loop {
            match client.get_multiplexed_async_connection_with_config(&patient).await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "redis does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a command, given as words.
    pub async fn run<T: FromRedisValue>(&self, words: &str) -> T {
        let mut command = redis::Cmd::new();
        for word in words.split(' ') {
            command.arg(word);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match command.query_async(&mut self.connection().await).await {
                Ok(answer) => return answer,
                // A server that is deposed, or ends, closes its connections.
                Err(error) if error.is_io_error() && Instant::now() < deadline => {}
                Err(error) => panic!("{words}: {error}"),
            }
        }
    }

    /// The contents of each stream: number and message of every entry, in order.
    pub async fn streams(&self) -> BTreeMap<String, Vec<(u64, String)>> {
        let mut streams = BTreeMap::new();
        for key in self.run::<Vec<String>>("KEYS *events:*").await {
            let entries: Vec<(String, Vec<String>)> = self.run(&format!("XRANGE {key} - +")).await;
            let read = |(id, fields): (String, Vec<String>)| {
                let seq = id.strip_suffix("-0").and_then(|seq| seq.parse().ok());
                assert_eq!(
                    (fields[0].as_str(), fields[2].as_str(), fields[4].as_str()),
                    ("message", "type", "state")
                );
                (seq.expect("<seq>-0"), fields[1].clone())
            };
            streams.insert(key, entries.into_iter().map(read).collect());
        }
        streams
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders, "{word}").expect("the supervisor lives");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the supervisor lives");
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_up() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline && !log.contains("not found"),
                "no redis-server starts; install it, on Debian: apt-get install redis-server\n{log}"
            );
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn own_folder() -> PathBuf {
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("cf-redis-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The point at which a wire is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The request never arrives.
    Request,
    /// The request arrives and is executed, and the reply is lost.
    Reply,
}

/// A wire to a server. It passes everything until it is cut.
pub struct Wire {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Plan {
    /// Each is used by the next large piece in its direction.
    cuts: Vec<Cut>,
    /// Cuts one piece in this many, by a generator with this state.
    random: Option<(u64, u64)>,
    made: u64,
}

impl Plan {
    fn cut(&mut self, direction: Cut, bytes: &[u8]) -> bool {
        let asked = self.cuts.first() == Some(&direction)
            && (direction == Cut::Reply || bytes.windows(4).any(|word| word == b"EVAL"));
        if asked {
            // The reply to cut is the reply of an append, so the cut waits for that request.
            self.cuts.remove(0);
        }
        let unlucky = self.random.as_mut().is_some_and(|(state, one_in)| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33).is_multiple_of(*one_in)
        });
        self.made += u64::from(asked || unlucky);
        asked || unlucky
    }
}

impl Wire {
    pub async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let plan = Arc::<Mutex<Plan>>::default();
        let (shared, mut tasks) = (plan.clone(), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass_on(client, port, shared.clone()));
            }
        });
        Self { address, plan, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Cuts once, at the next opportunity.
    pub fn cut(&self, cut: Cut) {
        self.plan.lock().expect("whole").cuts.push(cut);
    }

    /// Cuts one piece in `one_in` from now on; 0 for none.
    pub fn cut_at_random(&self, seed: u64, one_in: u64) {
        self.plan.lock().expect("whole").random = (one_in > 0).then_some((seed, one_in));
    }

    /// Number of cuts so far.
    pub fn cuts(&self) -> u64 {
        self.plan.lock().expect("whole").made
    }
}

async fn pass_on(mut client: TcpStream, port: u16, plan: Arc<Mutex<Plan>>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                if plan.lock().expect("whole").cut(Cut::Request, &asked[..count])
                    || server.write_all(&asked[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if plan.lock().expect("whole").cut(Cut::Reply, &answered[..count])
                    || client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
