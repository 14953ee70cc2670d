use std::collections::BTreeSet;

use chainflume_devchain::{Effect, RpcError, Rule};

use crate::daemon::{Home, chain as chain_tables, free_port};
use crate::flume::{all_sources, devchain};
use crate::metrics::of_the_code;
use crate::postgres;
use crate::promql::{Exposed, dashboard, parse, rules, unknown_in_legend};
use crate::redis_server::RedisServer;
use crate::wait::until_async;

/// What a daemon exposes that has seen history, a head, an error, a reorg and a sink.
async fn exposed() -> Exposed {
    let (url, redis) = (postgres::empty_database().await, RedisServer::start());
    let (chain, server) = devchain(91, 300).await;
    let home = Home::bare();
    let redis_table = format!("[redis]\nurl = \"{}\"\n", redis.url());
    let port = free_port();
    let server_table = format!("[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nmode = \"none\"\n");
    let sources = "[chain.audit]\nevery = \"50ms\"\n".to_owned()
        + &all_sources()
        + "[[inbound]]\nname = \"hints\"\nprovider = \"alchemy\"\nsecret = \"of the tests\"\nchain = \"dev\"\n"
        + "[[schedule]]\nname = \"sync\"\ncron = \"0 0 * * *\"\ntype = \"sync.due\"\n"
        + &crate::receiver::reaction("http://127.0.0.1:9/");
    home.write(&(redis_table + &server_table + &chain_tables(&server, "", &sources)), Some(&url));
    let daemon = home.start();
    daemon.until_tip(298).await;
    let delivery = reqwest::Client::new().post(format!("http://127.0.0.1:{port}/webhooks/hints")).body("{}");
    assert_eq!(delivery.send().await.expect("the server answers").status().as_u16(), 401);
    // Which calls meet the fault depends on the clock: audits and probes overcome it and count no failed step.
    let fault = chain.faults().add(Rule::any(Effect::Error(RpcError::new(-32000, "out of order"))));
    chain.mine(5);
    until_async("a step of the chain failed", async || {
        daemon.get("/metrics").await.1.contains("\nchainflume_errors_total{")
    })
    .await;
    fault.lift();
    daemon.until_tip(303).await;
    chain.reorg(5, 6);
    daemon.until_tip(304).await;
    let drained =
        |status: u16, report: &serde_json::Value| status == 200 && report["sinks"]["redis"]["lag"] == 0;
    daemon.until("all is delivered", drained).await;
    let exposed = Exposed::read(&daemon.get("/metrics").await.1);
    daemon.stop_well().await;
    exposed
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_dashboard_and_alerts_agree_with_a_running_daemon() {
    let exposed = exposed().await;

    let known = of_the_code();
    for (name, kind) in &exposed.types {
        let metric = known.iter().find(|metric| metric.name == *name);
        let metric = metric
            .unwrap_or_else(|| panic!("{name} is exposed, and crates/ops/src/metrics.rs has no such name"));
        let labels: BTreeSet<&str> = metric.labels.iter().map(String::as_str).collect();
        assert_eq!((&metric.kind, labels), (kind, exposed.labels(name)), "{name}");
    }

    let json = include_str!("../../../config/grafana/chainflume.json");
    let panels = dashboard(&serde_json::from_str(json).expect("JSON"));
    let mut problems = Vec::new();
    for (title, expression, legend) in &panels {
        let query = parse(expression);
        let unknown = unknown_in_legend(&query, legend, &exposed);
        let unknown = unknown.into_iter().map(|label| format!("its legend shows {label}, which it has not"));
        problems.extend(exposed.lacks(&query).into_iter().chain(unknown).map(|p| format!("{title}: {p}")));
    }
    for (alert, expression) in rules(include_str!("../../../config/prometheus/alerts.yml")) {
        problems.extend(exposed.lacks(&parse(&expression)).into_iter().map(|p| format!("{alert}: {p}")));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
