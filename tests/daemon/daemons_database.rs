//! Commands speak of the database of the daemon that runs beside them.

use chainflume_devchain::DEMO_TOKEN;

use crate::daemon::Home;
use crate::flume::{devchain, source};
use crate::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_the_services_variables_is_refused() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(84, 20).await;
    let home = Home::new(&server, &source("token", "erc20", DEMO_TOKEN, 0), Some(&url));
    let text = std::fs::read_to_string(home.path("chainflume.toml")).expect("it was written");
    let real = text.lines().find_map(|line| line.strip_prefix("url = \"")).expect("of the database");
    let real = real.trim_end_matches('"').to_owned();
    home.rewrite(&real, "${DATABASE_URL:-}");
    let daemon = home.start_with(&[("DATABASE_URL", &real)]);
    daemon.until_tip(18).await;
    daemon.until("knows its database", |_, report| report["database"]["identity"].is_string()).await;

    let words =
        format!("the daemon at 127.0.0.1:{} uses another database than the private one in ", home.port);
    for command in [&["status"][..], &["views"], &["dead-letters", "list"], &["psql", "--", "-c", "select 1"]]
    {
        let output = home.run(command).await;
        assert!(output.error(78).contains(&words) && output.out.is_empty(), "{command:?}: {output:#?}");
    }
    let checked = home.run(&["check"]).await.fine();
    assert!(checked.lines().any(|line| line.starts_with("warn ") && line.contains(&words)), "{checked}");

    // What systemd gives the service is beside the configuration.
    std::fs::write(home.path("secrets.env"), format!("DATABASE_URL=\"{real}\"\n")).expect("written");
    let status = home.run(&["status"]).await.fine();
    let stored = |line: &str| line.starts_with("dev ") && line.contains(" token ") && line.contains(" 18 ");
    assert!(status.lines().any(stored), "{status}");
    let events = home.run(&["psql", "--", "-XqAtc", "select count(*) > 0 from events"]).await.fine();
    assert_eq!(events, "t\n");
    let views = home.run(&["views"]).await.fine();
    assert!(
        views.contains("\nread them: chainflume psql -- -c 'select * from token_transfer limit 10'\n"),
        "{views}"
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_opens_the_private_database_with_and_without_a_daemon() {
    let (_, server) = devchain(85, 20).await;
    let home = Home::new(&server, &source("token", "erc20", DEMO_TOKEN, 0), None);
    let output = home.run(&["psql"]).await;
    assert_eq!(output.error(69), "there is no private database yet: `chainflume run` makes it");
    let daemon = home.start();
    daemon.until_tip(18).await;
    let tip = ["psql", "--", "-XqAtc", "select block_number from checkpoints"];
    assert_eq!(home.run(&tip).await.fine(), "18\n");
    daemon.stop_well().await;
    assert_eq!(home.run(&tip).await.fine(), "18\n");
    let output = home.run(&["psql", "--", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", "select no_such"]).await;
    assert_eq!(output.error(1), "psql ended with code 1");
}
