use serde_json::Value;

use crate::daemon::{Home, agrees, finish, is_root};
use crate::flume::{all_sources, devchain};
use crate::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn it_syncs_and_follows_into_a_database_that_is_given() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(21, 300).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let daemon = home.start();
    daemon.until_tip(298).await;
    for head in 301..=305 {
        chain.mine(1);
        daemon.until_tip(head - 2).await;
    }
    agrees(&chain, &url, 303).await;
    chain.reorg(4, 6);
    daemon.until_tip(305).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 305).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_authorities_follows_a_plain_node() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(23, 30).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let none = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nonexistent")];
    let daemon = home.start_as(&["run"], &none);
    daemon.until_tip(28).await;
    let mut status = home.configured(&["status"]);
    status.envs(none);
    let status = finish(status).await.fine();
    assert!(status.contains(" is ready\n"), "{status}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_syncs_and_follows_into_a_database_of_its_own() {
    let (_, server) = devchain(22, 1).await;
    private(Home::new(&server, &all_sources(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn root_and_an_ordinary_user_have_a_database_of_their_own() {
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let (_, server) = devchain(22, 1).await;
    private(Home::new(&server, &all_sources(), None).owned_by_nobody()).await;
}

/// Two lives of a daemon on its private database, and the output of the commands beside it and without it.
async fn private(home: Home) {
    let (chain, server) = devchain(22, 300).await;
    home.write(&crate::daemon::chain(&server, "", &all_sources()), None);
    assert_eq!(home.run(&["status"]).await.fine(), NOTHING);
    assert_eq!(
        home.run(&["views"]).await.fine(),
        "there are none yet; the daemon makes them when it starts\n"
    );
    let checked = home.run(&["check"]).await.fine();
    let made = format!(
        "\nok   chain dev: the node answers, head 300\nok   chain dev: the websocket of {} takes a subscription to heads\n\
         ok   database: a private PostgreSQL, which the daemon will make in {}\n",
        server.address(),
        home.path("data").display()
    );
    assert!(checked.ends_with(&made), "{checked}");
    assert!(!home.path("data").exists(), "looking makes nothing");

    let daemon = home.start();
    daemon.until_tip(298).await;
    agrees(&chain, &home.private_url(), 298).await;
    let beside = home.run(&["status", "--json"]).await.json();
    assert_eq!((&beside["daemon"]["ready"], &beside["sources"][0]["tip"]), (&true.into(), &298.into()));
    daemon.stop_well().await;

    chain.reorg(3, 5);
    let without = home.run(&["status", "--json"]).await.json();
    assert_eq!((&without["daemon"], &without["sources"]), (&serde_json::Value::Null, &beside["sources"]));
    let daemon = home.start();
    daemon.until_tip(300).await;
    agrees(&chain, &home.private_url(), 300).await;
    daemon.stop_well().await;
    assert_eq!(crate::daemon::postmaster(&home.path("data")), None);
}

const NOTHING: &str =
    "no daemon answers on the admin address; this is what is stored\n\nnothing is stored yet\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_one_data_directory_learns_the_holder() {
    let (_, server) = devchain(23, 20).await;
    let home = Home::new(&server, &all_sources(), None);
    let daemon = home.start();
    daemon.until_tip(18).await;
    let second = home.run(&["run"]).await;
    assert_eq!(
        second.error(75),
        format!(
            "{} is in use by the chainflume with pid {}; stop that one, or give this one a `data_dir` of its own",
            home.path("data").canonicalize().expect("it is there").display(),
            daemon.pid()
        )
    );
    daemon.until_tip(18).await;
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_by_mistake_on_one_database_store_nothing_twice() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(24, 2_000).await;
    let homes =
        [Home::new(&server, &all_sources(), Some(&url)), Home::new(&server, &all_sources(), Some(&url))];
    let daemons = homes.each_ref().map(Home::start);
    for head in 2_001..=2_020 {
        if head % 5 == 0 {
            chain.reorg(3, 4)
        } else {
            chain.mine(1)
        };
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    let tip = chain.head().number - 2;
    let mut roles = Vec::new();
    for daemon in &daemons {
        let fine = |status: u16, report: &Value| {
            let dev = &report["chains"]["dev"];
            status == 200 && (dev["sources"]["nft"]["tip"] == tip || dev["state"] == "standby")
        };
        let report = daemon.until("caught up, or a standby", fine).await;
        roles.push(report["leases"]["chain 31337"]["role"].to_string());
    }
    roles.sort();
    assert_eq!(roles, ["\"leader\"", "\"standby\""]);
    agrees(&chain, &url, tip).await;
    for daemon in daemons {
        daemon.stop_well().await;
    }
    agrees(&chain, &url, tip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_address_that_is_taken_or_foreign_is_named() {
    let url = postgres::empty_database().await;
    let (_, server) = devchain(25, 5).await;
    let home = Home::new(&server, &all_sources(), Some(&url));
    let _holder = std::net::TcpListener::bind(("127.0.0.1", home.port)).expect("it is free");
    let (file, port) = (home.path("chainflume.toml"), home.port);
    let remedy = "change admin.listen or stop the process that uses it";
    assert_eq!(
        home.run(&["run"]).await.error(75),
        format!(
            "{}: admin.listen: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98); {remedy}",
            file.display()
        )
    );
    home.rewrite(&format!("127.0.0.1:{port}"), "192.0.2.1:80");
    assert_eq!(
        home.run(&["run"]).await.error(78),
        format!(
            "{}: admin.listen: cannot listen on 192.0.2.1:80: Cannot assign requested address (os error 99); {remedy}",
            file.display()
        )
    );
    assert_eq!(super::refused::tables(&url).await, 0);
}
