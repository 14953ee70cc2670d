//! What an operator sees of several providers, before the daemon runs and while it does.

use chainflume_devchain::{DevChain, Server, Settings};
use serde_json::json;

use crate::daemon::Home;
use crate::flume::all_sources;
use crate::postgres;

/// The chain `dev` and its providers: name, node, and more keys.
fn tables(providers: &[(&str, &Server, &str)]) -> String {
    let provider = |(name, server, more): &(&str, &Server, &str)| {
        format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{}\"\n{more}\n", server.http_url())
    };
    let providers: String = providers.iter().map(provider).collect();
    format!(
        "[[chain]]\nname = \"dev\"\nchain_id = 31337\nreorg_window = 16\nblock_time = \"200ms\"\npoll_interval = \"200ms\"\n\
         request_timeout = \"2s\"\n[chain.failover]\nprobe_interval = \"100ms\"\nreturn_after = \"1h\"\n{providers}{}",
        all_sources()
    )
}

async fn served(chain: &DevChain) -> Server {
    chain.serve("127.0.0.1:0").await.expect("a free port")
}

/// The lines of a text with their words set apart by single blanks.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_status_show_each_provider_and_which_is_in_use() {
    let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
    let (late, archive) = (chain.another_node(), chain.another_node());
    late.faults().set(|node| node.lag = 10);
    let servers = [served(&chain).await, served(&late).await, served(&archive).await];
    let home = Home::bare();
    let url = postgres::empty_database().await;
    let providers = [
        ("late", &servers[1], ""),
        ("one", &servers[0], ""),
        ("archive", &servers[2], "role = \"history\"\npriority = 1"),
    ];
    home.write(&tables(&providers), Some(&url));
    let output = lines(&home.run(&["check"]).await.fine());
    for line in [
        "ok chain dev: provider late (role any) answers, head 50, 10 blocks behind, asked first",
        "ok chain dev: provider one (role any) answers, head 60",
        "ok chain dev: provider archive (role history) answers, head 60",
    ] {
        assert!(output.iter().any(|output| output == line), "{line}: {output:#?}");
    }

    let daemon = home.start();
    daemon.until_tip(58).await;
    let settled = |_: u16, report: &serde_json::Value| {
        let all = &report["chains"]["dev"]["providers"];
        all[1]["live"] == true && all[0]["state"] == "behind" && all[2]["head"] == 60
    };
    let report = daemon.until("asks the one that does not lag", settled).await;
    let by_method = &report["chains"]["dev"]["providers"][1]["rpc"]["eth_getBlockByNumber"];
    assert!(by_method["requests"].as_u64() > Some(0) && by_method["computeUnits"].as_u64() > Some(0));
    assert_eq!(report["chains"]["dev"]["provider"], json!("one"));

    let output = lines(&home.run(&["status"]).await.fine());
    let rows = |start: &str| -> Vec<Vec<String>> {
        let words = |line: &String| line.split(' ').map(str::to_owned).collect();
        output.iter().filter(|line| line.starts_with(start)).map(words).collect()
    };
    assert!(output.contains(&"chain provider role in use for health head behind answers in".to_owned()));
    assert_eq!(rows("dev late any")[0][..7].join(" "), "dev late any - behind 50 10");
    assert_eq!(rows("dev one any")[0][..8].join(" "), "dev one any new blocks well 60 0");
    assert_eq!(rows("dev archive history")[0][..7].join(" "), "dev archive history history well 60 0");
    assert!(output.contains(&"chain provider method requests failed compute units".to_owned()));
    for (provider, method) in [("one", "eth_getLogs"), ("late", "eth_chainId"), ("archive", "eth_getLogs")] {
        let row = rows(&format!("dev {provider} {method}")).remove(0);
        let counts: Vec<u64> = row[3..].iter().map(|count| count.parse().expect("a number")).collect();
        let price = if method == "eth_getLogs" { 60 } else { 0 };
        assert!(counts[0] > 0 && counts[2] == price * counts[0], "{row:?}");
    }
    let sample =
        "chainflume_rpc_requests_total{chain=\"dev\",provider=\"one\",method=\"eth_getLogs\",outcome=\"ok\"}";
    assert!(daemon.metric(sample).await > Some(0.0));
    assert_eq!(daemon.metric("chainflume_provider_in_use{chain=\"dev\",provider=\"one\"}").await, Some(1.0));
    assert_eq!(
        daemon.metric("chainflume_provider_lag_blocks{chain=\"dev\",provider=\"late\"}").await,
        Some(10.0)
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_chain_of_each_provider_where_they_differ() {
    let settings = |chain_id, seed| Settings { chain_id, seed, history: 20, ..Settings::default() };
    let [chain, stranger, mainnet] =
        [settings(31337, 1), settings(31337, 9), settings(1, 1)].map(DevChain::new);
    let servers = [served(&chain).await, served(&stranger).await, served(&mainnet).await];
    let home = Home::bare();
    let url = postgres::empty_database().await;
    home.write(&tables(&[("one", &servers[0], ""), ("mainnet", &servers[2], "")]), Some(&url));
    let output = home.run(&["check"]).await;
    assert!(output.error(78).ends_with("a provider is on another chain; see above"), "{output:?}");
    let line = "chain \"dev\": provider \"mainnet\": mainnet: the node is on chain 1, and the configuration has chain_id = 31337; \
                correct one of the two";
    assert!(output.out.contains(line), "{output:?}");

    home.write(&tables(&[("one", &servers[0], ""), ("stranger", &servers[1], "")]), Some(&url));
    let output = home.run(&["check"]).await;
    let genesis = |chain: &DevChain| chain.block(0).expect("it is there").hash;
    let line = format!(
        "chain \"dev\": provider: providers disagree on block 0: one has {}, stranger has {}; nothing is stored yet that \
         shows which of them is on the right chain, so no provider is used: remove the wrong one, or correct its url",
        genesis(&chain),
        genesis(&stranger)
    );
    assert!(output.error(78).ends_with("see above") && output.out.contains(&line), "{output:?}");
}
