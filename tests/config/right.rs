use std::path::PathBuf;
use std::time::Duration;

use chainflume::config::{
    Alerts, ApplicationFacts, AuditSettings, Chain, ChainSettings, Compression, Config, Confirmations,
    DatabaseConfig, DepthPolicy, FailoverSettings, HistorySettings, LogConfig, LogVerification, OutboxConfig,
    ProviderRole, ProviderSettings, PublishMode, RateLimitSettings, RecordRetention, Redis, Shutdown, Source,
    Users,
};
use chainflume::{admin, lease};
use chainflume_core::domain::{AddressSet, StartBlock};
use chainflume_core::mapping::Family;
use chainflume_deliver::sink::RedisServers;

use crate::given::{Given, RIGHT, after, with};

/// What calls cost where nothing is configured.
const PRICES: [(&str, u64); 7] = [
    ("eth_chainId", 0),
    ("eth_getLogs", 60),
    ("eth_getBlockByNumber", 20),
    ("eth_getBlockByHash", 20),
    ("eth_getBlockReceipts", 20),
    ("eth_getTransactionReceipt", 20),
    ("*", 20),
];

fn only_provider() -> ProviderSettings {
    ProviderSettings {
        label: "node.example".to_owned(),
        http_url: "https://node.example/v2/key-in-literal".to_owned(),
        ws_url: None,
        headers: chainflume_node::headers_of([]).expect("none"),
        priority: 1,
        role: ProviderRole::Any,
        pace: usual_pace(),
    }
}

fn usual_pace() -> RateLimitSettings {
    RateLimitSettings {
        requests_per_second: None,
        compute_units_per_second: None,
        compute_units: PRICES.map(|(method, units)| (method.to_owned(), units)).into(),
        max_concurrent: 16,
        max_bytes_in_flight: 128 << 20,
    }
}

fn usual_history() -> HistorySettings {
    HistorySettings {
        ranges_in_flight: 4,
        initial_range: 1_000,
        max_range: 10_000,
        buffer_bytes: 20 << 20,
        commit_logs: 12_000,
    }
}

fn usual_failover() -> FailoverSettings {
    let [probe_interval, probe_timeout, return_after] = [10, 2, 60].map(Duration::from_secs);
    FailoverSettings { probe_interval, probe_timeout, max_lag: 5, return_after }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of all defaults")]
fn a_small_configuration_is_read_whole_with_every_default() {
    let config = Given::default().root().right(RIGHT);
    let signatures: Vec<_> = config.sources[0].events.iter().map(|event| event.signature.as_str()).collect();
    assert_eq!(signatures, ["Transfer(address,address,uint256)", "Approval(address,address,uint256)"]);
    let address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".parse().expect("an address");
    let expected = Config {
        data_dir: "/var/lib/chainflume".into(),
        database: DatabaseConfig::default(),
        outbox: OutboxConfig::default(),
        retention: RecordRetention::default(),
        redis: Redis::default(),
        standby: lease::Settings::default(),
        webhooks: Vec::new(),
        inbound: Vec::new(),
        alerts: Alerts::default(),
        admin: admin::Settings::default(),
        server: config.server.clone(),
        push: Vec::new(),
        publish: ApplicationFacts::default(),
        schedules: Vec::new(),
        thresholds: Vec::new(),
        log: LogConfig::default(),
        users: Users::default(),
        shutdown: Shutdown::default(),
        chains: vec![Chain {
            name: "base".to_owned(),
            chain_id: 8453,
            node: ChainSettings {
                name: "base".to_owned(),
                chain_id: 8453,
                providers: vec![only_provider()],
                failover: usual_failover(),
                verify: LogVerification::Bloom,
                tag: None,
                request_timeout: Duration::from_secs(10),
                compression: Compression::Auto,
                max_response_bytes: 64 << 20,
                poll_interval: Duration::from_secs(12),
                ws_silence: Duration::from_secs(36),
                max_head_age: Duration::from_secs(3_600),
                history: usual_history(),
            },
            policy: DepthPolicy {
                confirmations: Confirmations::Blocks(2),
                reorg_window: 64,
                backend_lag: Duration::from_secs(60),
                backend_lag_blocks: 128,
                publish: PublishMode::Confirmed,
            },
            block_time: Duration::from_secs(12),
            contract_check: Some(Duration::from_hours(1)),
            audit: Some(AuditSettings { blocks: 2_000, every: Duration::from_secs(10), repair: true }),
        }],
        sources: vec![Source {
            name: "usdc".to_owned(),
            chain: "base".to_owned(),
            family: Family::Erc20,
            addresses: AddressSet::Only([address].into()),
            events: config.sources[0].events.clone(),
            repeated: Vec::new(),
            start_block: StartBlock::Number(100),
            end_block: None,
            decimals: None,
            publish_from: chainflume_store::PublishFrom::Head,
            user: None,
        }],
    };
    assert_eq!(config, expected);
}

#[test]
fn variables_are_filled_in_after_parsing() {
    let given = Given::default()
        .variable("KEY", "a\"b\n[[chain]]")
        .variable("ID", "8453")
        .variable("EMPTY", "")
        .variable("CREATE", "false");
    let text = with("key-in-literal", "${KEY}/${EMPTY:-x}/${NONE:-y}/$${KEY}/$")
        .replace("8453", "\"${ID}\"")
        .replace("100", "\"${START:-0x10}\"".replace("0x10", "16").as_str());
    let config = given.right(&format!("{text}\n[users]\ncreate_missing = \"${{CREATE}}\""));
    assert_eq!(
        config.chains[0].node.providers[0].http_url,
        "https://node.example/v2/a\"b\n[[chain]]/x/y/${KEY}/$"
    );
    assert_eq!((config.chains[0].chain_id, config.sources[0].start_block), (8453, StartBlock::Number(16)));
    assert!(!config.users.create_missing);
}

#[test]
fn an_empty_string_means_the_default() {
    let text = after("http", "ws = \"${WS:-}\"\nws_silence = \"\"")
        .replace("start_block", "abi = \"\"\nstart_block");
    let given = Given::default();
    assert_eq!(given.right(&text), given.right(RIGHT));
}

#[test]
fn redis_is_one_server_or_sentinels_or_a_cluster() {
    let read = |redis: &str| {
        let given = Given::default().variable("WORD", "pass~word").variable("NONE", "");
        given.right(&format!("[redis]\n{redis}\n{RIGHT}")).redis.servers
    };
    let all = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
    assert_eq!(read("url = \"${NONE}\"\nsentinels = []\nmaster = \"\"\ncluster = []"), None);
    assert_eq!(
        read("url = \"rediss://flume:${WORD}@one/2\""),
        Some(RedisServers::Single("rediss://flume:pass~word@one/2".to_owned()))
    );
    let sentinels = "sentinels = [\"redis://one:26379\", \"redis://:${WORD}@two:26379\"]";
    let both = || all(&["redis://one:26379", "redis://:pass~word@two:26379"]);
    for (written, meant) in [
        ("my.Master_1", "redis://my.Master_1"),
        ("rediss://flume:${WORD}@mymaster/2", "rediss://flume:pass~word@mymaster/2"),
    ] {
        assert_eq!(
            read(&format!("{sentinels}\nmaster = \"{written}\"")),
            Some(RedisServers::Sentinel { sentinels: both(), master: meant.to_owned() })
        );
    }
    assert_eq!(
        read("cluster = [\"redis://one:7000\", \"redis://two:7000/\", \"redis://three/0\"]"),
        Some(RedisServers::Cluster(all(&["redis://one:7000", "redis://two:7000/", "redis://three/0"])))
    );
}

#[test]
fn events_are_published_when_confirmed_or_at_the_head_too() {
    let publish = |value: &str| {
        Given::default().right(&after("http", &format!("publish = {value}"))).chains[0].policy.publish
    };
    assert_eq!(publish("\"confirmed\""), PublishMode::Confirmed);
    assert_eq!(publish("\"pending_and_confirmed\""), PublishMode::PendingAndConfirmed);
}

#[test]
fn confirmations_are_blocks_or_a_tag() {
    let read = |value: &str| {
        let text = after("http", &format!("confirmations = {value}"));
        Given::default().variable("DEPTH", "7").right(&text).chains[0].policy.confirmations
    };
    assert_eq!(read("0"), Confirmations::Blocks(0));
    assert_eq!(read("\"${DEPTH}\""), Confirmations::Blocks(7));
    assert_eq!(read("\"safe\""), Confirmations::Safe);
    assert_eq!(read("\"finalized\""), Confirmations::Finalized);
}

#[test]
fn silence_follows_the_block_time_but_is_at_least_ten_seconds() {
    let silence = |time: &str| {
        let text = after("http", &format!("block_time = \"{time}\""));
        Given::default().right(&text).chains[0].node.ws_silence
    };
    assert_eq!(silence("5s"), Duration::from_secs(15));
    assert_eq!(silence("250ms"), Duration::from_secs(10));
}

#[test]
fn the_data_folder_follows_the_service_manager_or_the_home() {
    let place = |given: Given| given.right(RIGHT).data_dir;
    let home = || Given::default().variable("HOME", "/home/ada");
    assert_eq!(place(home()), PathBuf::from("/home/ada/.local/share/chainflume"));
    assert_eq!(place(home().variable("XDG_DATA_HOME", "/data")), PathBuf::from("/data/chainflume"));
    assert_eq!(place(home().root()), PathBuf::from("/var/lib/chainflume"));
    let service = home().root().variable("STATE_DIRECTORY", "/var/lib/private/flume:/other");
    assert_eq!(place(service), PathBuf::from("/var/lib/private/flume"));
    let config = Given::default().right(&format!("data_dir = \"here\"\n{RIGHT}"));
    assert_eq!(config.data_dir, PathBuf::from("here"));
}

#[test]
fn ranges_of_tokens_of_any_contract_are_followed_only_by_name() {
    let follows = |address: &str, events: &str| {
        let text = with("\"erc20\"", "\"erc721\"").replace("start_block", &format!("{events}\nstart_block"));
        let config =
            Given::default().right(&text.replace("\"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\"", address));
        config.sources[0].events.iter().any(|event| event.name == "ConsecutiveTransfer")
    };
    assert!(follows("\"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\"", ""), "the operator named the contract");
    assert!(!follows("\"any\"", ""));
    assert!(follows("\"any\"", "events = [\"Transfer\", \"ConsecutiveTransfer\"]"));
}

#[test]
fn events_are_picked_by_name_or_by_signature() {
    let abi = r#"[
        {"type":"event","name":"Paid","inputs":[{"name":"to","type":"address","indexed":true}]},
        {"type":"event","name":"Paid","inputs":[{"name":"to","type":"address"},{"name":"sum","type":"uint256"}]},
        {"type":"event","name":"Closed","inputs":[]}
    ]"#;
    let picked = |events: &str| -> Vec<String> {
        let text = with("\"erc20\"", "\"generic\"\nabi = \"abi/pay.json\"\nuser = \"to\"");
        let text = text.replace("start_block", &format!("events = {events}\nstart_block"));
        let config = Given::default().file("abi/pay.json", abi).right(&text);
        config.sources[0].events.iter().map(|event| event.signature.clone()).collect()
    };
    assert_eq!(picked("[\"Paid\"]"), ["Paid(address)", "Paid(address,uint256)"]);
    assert_eq!(picked("[\"Paid(address,uint256)\"]"), ["Paid(address,uint256)"]);
    assert_eq!(picked("[]"), ["Paid(address)", "Paid(address,uint256)", "Closed()"]);
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("[database]\nurl = \"postgres://flume:hunter2@db/flume\"\n{RIGHT}")
        .replace("https://node.example", "https://ada:hunter2@node.example");
    let shown = format!("{:?}", Given::default().right(&text));
    assert!(!shown.contains("hunter2") && !shown.contains("key-in-literal"), "{shown}");
}

#[test]
fn providers_are_preferred_in_order_and_named_by_their_hosts() {
    let several = "[[chain.provider]]\nhttp = \"https://one.example/key\"\nws = \"wss://one.example/key\"\n\
                   [[chain.provider]]\nname = \"archive\"\nhttp = \"https://one.example/other\"\nrole = \"history\"\n\
                   priority = 9\nrequests_per_second = 15\ncompute_units_per_second = 0\n";
    let text = with("http = \"https://node.example/v2/key-in-literal\"\n", several);
    let provider = |label: &str, http: &str, ws: Option<&str>, priority, role| ProviderSettings {
        label: label.to_owned(),
        http_url: http.to_owned(),
        ws_url: ws.map(str::to_owned),
        priority,
        role,
        ..only_provider()
    };
    let archive = provider("archive", "https://one.example/other", None, 9, ProviderRole::History);
    let pace = RateLimitSettings { requests_per_second: Some(15), ..usual_pace() };
    assert_eq!(
        Given::default().right(&text).chains[0].node.providers,
        [
            provider(
                "one.example",
                "https://one.example/key",
                Some("wss://one.example/key"),
                1,
                ProviderRole::Any
            ),
            ProviderSettings { pace, ..archive },
        ]
    );
}

#[test]
fn a_source_begins_with_a_number_or_the_latest_block() {
    for (written, start) in [
        ("\"latest\"", StartBlock::Latest),
        ("\"${START:-latest}\"", StartBlock::Latest),
        ("\"17\"", StartBlock::Number(17)),
        ("0x10", StartBlock::Number(16)),
    ] {
        let config = Given::default().right(&with("100", written));
        assert_eq!(config.sources[0].start_block, start, "{written}");
    }
}
