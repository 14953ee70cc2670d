use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Chain, LineFormat, LogConfig, LogLevel, ProcessEnvironment};

/// The first chain of a configuration with these keys and tables of it.
fn chain(keys: &str) -> Chain {
    let text = format!(
        "[database]\nurl = \"postgres://localhost/flume\"\n[[chain]]\nname = \"dev\"\nchain_id = 31337\n{keys}\n\
         [[source]]\nname = \"token\"\nchain = \"dev\"\nfamily = \"erc20\"\n\
         address = \"0x00000000000000000000000000000000000000aa\"\nstart_block = 1\n"
    );
    let mut config = Config::parse(Path::new("chainflume.toml"), &text, &ProcessEnvironment).expect("right");
    config.chains.remove(0)
}

#[test]
fn limits_of_a_provider_count_before_those_of_its_chain() {
    let chain = chain(
        "[chain.pace]\nrequests_per_second = 10\ncompute_units_per_second = 300\nmax_concurrent = 3\n\
         [[chain.provider]]\nhttp = \"http://one.example\"\n\
         [[chain.provider]]\nhttp = \"http://two.example\"\nrequests_per_second = 0\ncompute_units_per_second = 50",
    );
    let settings = chain.node;
    let limits: Vec<_> = settings
        .providers
        .iter()
        .map(|provider| {
            let pace = &provider.pace;
            (pace.requests_per_second, pace.compute_units_per_second, pace.max_concurrent)
        })
        .collect();
    assert_eq!(limits, [(Some(10), Some(300), 3), (None, Some(50), 3)]);
}

#[test]
fn a_probe_takes_no_longer_than_a_request() {
    let probe = |keys: &str| {
        let settings = chain(&format!("http = \"http://one.example\"\n{keys}")).node;
        settings.failover.probe_timeout
    };
    assert_eq!(probe(""), Duration::from_secs(2));
    assert_eq!(probe("request_timeout = \"500ms\""), Duration::from_millis(500));
}

#[test]
fn a_head_is_silent_after_twenty_blocks_a_minute_and_two_polls() {
    let silence = |keys: &str| head_silence(&chain(&format!("http = \"http://one.example\"\n{keys}")));
    assert_eq!(silence("block_time = \"12s\""), Duration::from_secs(240));
    assert_eq!(silence("block_time = \"250ms\""), Duration::from_secs(60));
    assert_eq!(silence("block_time = \"1s\"\npoll_interval = \"40s\""), Duration::from_secs(80));
}

#[test]
fn libraries_log_warnings_and_sqlx_errors_alone() {
    let filter = |level| telemetry_settings(&LogConfig { format: LineFormat::Json, level }).filter;
    assert_eq!(filter(LogLevel::Debug), "warn,sqlx=error,chainflume=debug");
    assert_eq!(filter(LogLevel::Error), "error,sqlx=error,chainflume=error");
}
