use std::time::Duration;

use chainflume_testkit::postgres::binaries;
use rustix::process::Signal;

use crate::daemon::{Daemon, Home, finish};
use crate::wait::until_async;
use chainflume_support::program;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_by_itself_with_every_row_compared() {
    let home = Home::bare();
    let data = home.path("demo");
    let data_dir = data.to_str().expect("plain");
    let output =
        finish(home.command(&["demo", "--for", "5s", "--block-time", "200ms", "--data-dir", data_dir])).await;
    let text = output.fine();
    for words in ["\nsummary\n", "  first event      ", "  reorgs undone    ", "rows compared\n"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.ends_with("every row agrees with the chain\n"), "{text}");
    assert!(!data.exists(), "it cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_no_demos_is_not_emptied() {
    let home = Home::bare();
    let data = home.path("mine");
    std::fs::create_dir(&data).expect("the folder takes one");
    std::fs::write(data.join("thesis.txt"), "years").expect("likewise");
    let output = finish(home.command(&["demo", "--data-dir", data.to_str().expect("plain")])).await;
    assert_eq!(
        output.error(78),
        format!("{} is not empty and holds no earlier demo; name another --data-dir", data.display())
    );
    assert_eq!(std::fs::read_to_string(data.join("thesis.txt")).expect("it is there"), "years");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_demo_leaves_the_first_alone_and_ctrl_c_sums_up() {
    let home = Home::bare();
    let data = home.path("demo");
    let arguments = ["demo", "--block-time", "200ms", "--data-dir", data.to_str().expect("plain")];
    let mut first = Daemon::new(home.command(&arguments), 0);
    first.until_printed("chain     ").await;
    let second = finish(home.command(&arguments)).await;
    assert_eq!(
        second.error(75),
        format!("a demo is running in {}; stop it or name another --data-dir", data.display())
    );
    first.until_printed("live from here").await;
    let port = redis_port(&first);
    until_async("messages are in its Redis", async || entries(port).await > 0).await;
    let status =
        finish(home.command(&["--config", data.join("demo.toml").to_str().expect("plain"), "status"])).await;
    let status = status.fine();
    assert!(status.contains(" is ready\n"), "{status}");
    first.signal(Signal::INT);
    assert_eq!(first.ended(Duration::from_secs(30)).await, Some(0), "{}", first.log());
    first.until_text("every row agrees with the chain\n");
    assert!(first.printed().contains(" in Redis, of the "), "{}", first.printed());
    assert!(!data.exists(), "it cleans up");
    assert!(!is_open(port), "its Redis has ended with it");
}

/// Of the line that reads the messages.
fn redis_port(demo: &Daemon) -> u16 {
    let printed = demo.printed();
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("redis-cli -p ")).expect("a line");
    let (port, rest) = line.split_once(' ').expect("words");
    assert!(rest.starts_with("XREAD BLOCK 0 STREAMS events:token "), "{line}");
    port.parse().expect("a port")
}

fn is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

async fn entries(port: u16) -> u64 {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
    redis::cmd("XLEN").arg("events:token").query_async(&mut connection).await.expect("a length")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_demo_leaves_no_redis_running() {
    let home = Home::bare();
    let data = home.path("demo");
    let arguments = ["demo", "--block-time", "200ms", "--data-dir", data.to_str().expect("plain")];
    let mut demo = Daemon::new(home.command(&arguments), 0);
    demo.until_printed("redis-cli -p ").await;
    let port = redis_port(&demo);
    assert!(is_open(port));
    demo.kill_9().await;
    until_async("its Redis ends", async || !is_open(port)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_without_a_redis_server_counts_messages_itself() {
    let home = Home::bare();
    let (data, programs) = (home.path("demo"), home.path("bin"));
    std::fs::create_dir(&programs).expect("the folder takes one");
    let postgres = binaries().join("postgres");
    std::os::unix::fs::symlink(postgres, programs.join("postgres")).expect("a link");
    let data_dir = data.to_str().expect("plain");
    let mut command = home.command(&["demo", "--for", "3s", "--block-time", "200ms", "--data-dir", data_dir]);
    command.env("PATH", &programs);
    let text = finish(command).await.fine();
    for words in ["(apt-get install redis-server)\n", " confirmed and ", "every row agrees with the chain\n"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("redis-cli"), "{text}");
}

/// Runs a command on a machine without a PostgreSQL server: of each that is installed, no program is left.
const NO_POSTGRESQL: &str = r#"
for program in "$1" /usr/lib/postgresql/*/bin/postgres; do
    [ ! -e "$program" ] || mount --bind /dev/null "$program"
done
shift
exec "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_without_postgresql_names_the_package_and_no_key() {
    let home = Home::bare();
    let data = home.path("demo");
    // Another user than root may mount where it is root of its own.
    let apart = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let mut command = tokio::process::Command::new("unshare");
    command.args([apart, "sh", "-c", NO_POSTGRESQL, "sh"]).arg(binaries().join("postgres"));
    command.arg(program()).args(["demo", "--without-redis", "--data-dir"]).arg(&data);
    Home::in_the_dark(&mut command);
    let output = finish(command).await;
    let words = "install one, which the demo starts and stops by itself (apt-get install postgresql)";
    let error = output.error(69);
    assert!(error.starts_with("no PostgreSQL server found") && error.ends_with(words), "{output:#?}");
    assert!(!error.contains("database."), "a demo has no configuration: {error}");
    assert!(!data.exists(), "it cleans up");
}
