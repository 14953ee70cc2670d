use crate::given::{Given, RIGHT, after, with};

fn wrong(text: &str) -> Vec<String> {
    Given::default().wrong(text)
}

#[test]
fn an_empty_configuration_is_reported_with_what_to_add() {
    assert_eq!(
        wrong(""),
        [
            "2 problems in chainflume.toml",
            "chainflume.toml: chain: there is none (add a [[chain]] table; `chainflume init` writes one)",
            "chainflume.toml: source: there is none (add a [[source]] table; `chainflume init` writes one)",
        ]
    );
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let text = r#"
[log]
levle = "info"
[admin]
listen = "localhost"
[[chain]]
name = "Base"
chain_id = "8453"
http = "${BASE_HTTP}"
confirmations = 64
[[source]]
name = "usdc"
chain = "base"
family = "erc-20"
address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA0291"
[[source]]
name = "usdc"
"#;
    assert_eq!(
        wrong(text),
        [
            "14 problems in chainflume.toml",
            "chainflume.toml:3: log.levle: is not a key (did you mean `level`?)",
            "chainflume.toml:5: admin.listen: `localhost` is not an address and port (write an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\")",
            "chainflume.toml:6: chain[0].reorg_window: is not above confirmations, so that no confirmed block could be undone (give more than confirmations; the default is 64)",
            "chainflume.toml:7: chain[0].name: `Base` is not a name (write at most 40 of a-z, 0-9, `_`, `-`, with a letter first)",
            "chainflume.toml:8: chain[0].chain_id: is a string, an integer is wanted (write a whole number without quotes)",
            "chainflume.toml:9: chain[0].http: the variable BASE_HTTP is not set (set it in the environment, name a file that holds the value in BASE_HTTP_FILE, or give a default: `${BASE_HTTP:-…}`)",
            "chainflume.toml:11: source[0].start_block: is missing (add start_block = N, the block the contract was created in)",
            "chainflume.toml:14: source[0].family: `erc-20` is not known here (did you mean `erc20`? known: stake, erc20, erc721, generic)",
            "chainflume.toml:15: source[0].address: `0x833589fCD6eDb6E08f4c7C32D4f71b54bdA0291` is not an address (an address has 40 hex digits after 0x, this has 39)",
            "chainflume.toml:16: source[1].chain: is missing (add chain = \"…\", the name of a [[chain]])",
            "chainflume.toml:16: source[1].family: is missing (add family = \"stake\", \"erc20\", \"erc721\" or \"generic\")",
            "chainflume.toml:16: source[1].address: is missing (add address = \"0x…\", a list of them, or \"any\")",
            "chainflume.toml:16: source[1].start_block: is missing (add start_block = N, the block the contract was created in)",
            "chainflume.toml:17: source[1].name: is that of another source too, on line 12 (give each its own)",
        ]
    );
}

#[test]
fn an_unknown_key_is_an_error_in_every_table() {
    let text = format!("datadir = \"x\"\n[databse]\nurl = \"x\"\n{}", after("http", "\"colour scheme\" = 1"));
    assert_eq!(
        wrong(&text),
        [
            "3 problems in chainflume.toml",
            "chainflume.toml:1: datadir: is not a key (did you mean `data_dir`?)",
            "chainflume.toml:2: databse: is not a key (did you mean `database`?)",
            "chainflume.toml:9: chain[0].\"colour scheme\": is not a key (remove it; known here: audit, backend_lag, backend_lag_blocks, block_time, chain_id, compression, confirmations, contract_check, failover, headers, history, http, max_head_age, max_response_bytes, name, pace, poll_interval, provider, publish, reorg_window, request_timeout, verify, ws, ws_silence)",
        ]
    );
}

#[test]
fn a_wrong_type_is_reported_without_the_value() {
    let text = format!("data_dir = 5\ndatabase = \"hunter2\"\n[users]\ncreate_missing = \"yes\"\n{RIGHT}")
        .replace("http = \"https", "history = []\nhttp = [\"https")
        .replace("literal\"", "literal\"]")
        .replace("address = ", "events = \"Transfer\"\naddress = 7 #");
    assert_eq!(
        wrong(&text),
        [
            "7 problems in chainflume.toml",
            "chainflume.toml:1: data_dir: is an integer, a string is wanted (write one string in quotes)",
            "chainflume.toml:2: database: is a string, a table is wanted (write its name in single brackets, [like_this], and its keys below)",
            "chainflume.toml:4: users.create_missing: is a string, a boolean is wanted (write true or false without quotes)",
            "chainflume.toml:9: chain[0].history: is an array, a table is wanted (write its name in single brackets, [like_this], and its keys below)",
            "chainflume.toml:10: chain[0].http: is an array, a string is wanted (write one string in quotes)",
            "chainflume.toml:16: source[0].events: is a string, an array is wanted (write strings in brackets: [\"…\", \"…\"])",
            "chainflume.toml:17: source[0].address: is an integer, a string is wanted (write one string in quotes)",
        ]
    );
}

#[test]
fn one_bracket_where_two_belong_is_reported_once() {
    let text = RIGHT.replace("[[chain]]", "[chain]");
    assert_eq!(
        wrong(&text),
        [
            "2 problems in chainflume.toml",
            "chainflume.toml:2: chain: is a table, an array of tables is wanted (write its name in double brackets, [[like_this]], and its keys below)",
            "chainflume.toml:9: source[0].chain: `base` is no chain of this file (add a [[chain]] of this name)",
        ]
    );
}

#[test]
fn faults_of_syntax_are_all_reported_and_nothing_else() {
    let text = with("chain_id = 8453", "chain_id = \nname = \"again\"\nwhat is this");
    assert_eq!(
        wrong(&text),
        [
            "3 problems in chainflume.toml",
            "chainflume.toml:4: string values must be quoted, expected literal string (correct the TOML; its rules are at https://toml.io)",
            "chainflume.toml:5: duplicate key (correct the TOML; its rules are at https://toml.io)",
            "chainflume.toml:6: key with no value, expected `=` (correct the TOML; its rules are at https://toml.io)",
        ]
    );
}

#[test]
fn times_sizes_and_numbers_have_bounds() {
    let text = after(
        "http",
        "block_time = \"5 parsecs\"\npoll_interval = \"0s\"\nmax_response_bytes = \"64\"\nreorg_window = 0\n\
         history = { ranges_in_flight = -1, max_range = 99999999999999999999, buffer_bytes = \"1 TiB\" }",
    );
    let text = format!("[database]\nmax_connections = 1\nacquire_timeout = \"1h\"\n{text}")
        .replace("= 100", "= 1099511627776");
    assert_eq!(
        wrong(&text),
        [
            "10 problems in chainflume.toml",
            "chainflume.toml:2: database.max_connections: `1` is too small (give a value from 2 to 1000)",
            "chainflume.toml:3: database.acquire_timeout: `1h` is too large (give a value from 100ms to 10m)",
            "chainflume.toml:9: chain[0].block_time: `5 parsecs` is not a length of time (write a number and a unit, like \"250ms\" or \"12s\")",
            "chainflume.toml:10: chain[0].poll_interval: `0s` is too small (give a value from 50ms to 1h)",
            "chainflume.toml:11: chain[0].max_response_bytes: `64` is too small (give a value from 64KiB to 1GiB)",
            "chainflume.toml:12: chain[0].reorg_window: `0` is too small (give a value from 1 to 100000)",
            "chainflume.toml:13: chain[0].history.ranges_in_flight: `-1` is too small (give a value from 1 to 64)",
            "chainflume.toml:13: chain[0].history.max_range: `99999999999999999999` is too large (give a value from 1 to 10000000)",
            "chainflume.toml:13: chain[0].history.buffer_bytes: `1 TiB` is not a size (write a number and a unit, like \"64MiB\" or \"500KiB\")",
            "chainflume.toml:20: source[0].start_block: `1099511627776` is too large (give a value from 0 to 1099511627775)",
        ]
    );
}

#[test]
fn confirmations_are_a_number_of_blocks_or_a_known_tag() {
    let unknown = "is not known here (write a number of blocks, \"safe\" or \"finalized\")";
    let large = "`10001` is too large (give a value from 0 to 10000)";
    for (value, problem) in [
        ("\"soon\"", format!("`soon` {unknown}")),
        ("\"\"", format!("`` {unknown}")),
        ("10001", large.to_owned()),
        ("\"10001\"", large.to_owned()),
        ("-1", "`-1` is too small (give a value from 0 to 10000)".to_owned()),
        ("[1]", "is an array, an integer is wanted (write a whole number without quotes)".to_owned()),
    ] {
        let lines = wrong(&after("http", &format!("confirmations = {value}")));
        assert_eq!(lines[1..], [format!("chainflume.toml:6: chain[0].confirmations: {problem}")], "{value}");
    }
}

#[test]
fn values_that_contradict_each_other_are_reported() {
    let text = after(
        "http",
        "confirmations = 12\nreorg_window = 12\nblock_time = \"2s\"\nws_silence = \"2s\"\nhistory = { initial_range = 20_000 }",
    );
    assert_eq!(
        wrong(&text),
        [
            "3 problems in chainflume.toml",
            "chainflume.toml:7: chain[0].reorg_window: is not above confirmations, so that no confirmed block could be undone (give more than confirmations; the default is 64)",
            "chainflume.toml:9: chain[0].ws_silence: is not above block_time, so that every block would come too late (give about three times block_time, or leave it out)",
            "chainflume.toml:10: chain[0].history.initial_range: is above max_range (give at most max_range, which is 10000 by default)",
        ]
    );
}

#[test]
fn urls_take_their_own_schemes_and_are_never_shown() {
    let text = format!(
        "[database]\nurl = \"mysql://flume:hunter2@db/flume\"\n{}",
        after("http", "ws = \"https://node.example/hunter2\"")
    )
    .replace("https://node.example/v2/key-in-literal", "node.example hunter2");
    assert_eq!(
        wrong(&text),
        [
            "3 problems in chainflume.toml",
            "chainflume.toml:2: database.url: the value has the scheme of another protocol, postgres or postgresql is wanted (write an address that begins with postgres:// or postgresql://)",
            "chainflume.toml:7: chain[0].http: the value is not a url (write one that begins with http:// or https:// and names a host)",
            "chainflume.toml:8: chain[0].ws: the value has the scheme of another protocol, ws or wss is wanted (write an address that begins with ws:// or wss://)",
        ]
    );
}

#[test]
fn what_came_from_a_variable_is_never_shown() {
    let text = RIGHT
        .replace("\"base\"", "\"${V}\"")
        .replace("8453", "\"${V}\"")
        .replace("https://node.example/v2/key-in-literal", "${V}")
        .replace("usdc", "${V}")
        .replace("erc20", "${V}")
        .replace("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "${V}")
        .replace("= 100", "= \"${V}\"\nabi = \"${V}\"\nevents = [\"${V}\"]");
    let text = format!(
        "{text}\n[log]\nlevel = \"${{V}}\"\n[admin]\nlisten = \"${{V}}\"\n[shutdown]\ndeadline = \"${{V}}\""
    );
    let problems = Given::default().variable("V", "Hunter 2").wrong(&text);
    assert_eq!(problems.first().map(String::as_str), Some("11 problems in chainflume.toml"));
    assert!(problems.iter().all(|line| !line.contains("Hunter")), "{problems:#?}");
    let chain_id = "chainflume.toml:4: chain[0].chain_id: the value is not a whole number (set the variable to digits alone)";
    assert!(problems.iter().any(|line| line == chain_id), "{problems:#?}");
}

#[test]
fn a_variable_that_is_not_set_or_not_written_right_is_named() {
    let text = with("key-in-literal", "${A}/${B}").replace("usdc", "${1A}").replace("\"erc20\"", "\"${A\"");
    let text = text.replace("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "${A:-${B}}");
    assert_eq!(
        wrong(&text),
        [
            "5 problems in chainflume.toml",
            "chainflume.toml:5: chain[0].http: the variable A is not set (set it in the environment, name a file that holds the value in A_FILE, or give a default: `${A:-…}`)",
            "chainflume.toml:5: chain[0].http: the variable B is not set (set it in the environment, name a file that holds the value in B_FILE, or give a default: `${B:-…}`)",
            "chainflume.toml:8: source[0].name: has `${…}` without the name of a variable (write `${NAME}` or `${NAME:-default}`, where NAME is of letters, digits and `_`)",
            "chainflume.toml:10: source[0].family: has `${` without `}` (close it, or write `$${` for a plain `${`)",
            "chainflume.toml:11: source[0].address: has a variable in the default of `A` (write the default out)",
        ]
    );
}

#[test]
fn where_messages_go_is_checked() {
    let text = format!(
        "[outbox]\nretention = \"a week\"\n[redis]\nurl = \"http://ada:hunter2@redis\"\nprefix = \"a b\"\nstream_length = 0\ntimeout = \"1h\"\n{RIGHT}"
    );
    assert_eq!(
        wrong(&text),
        [
            "5 problems in chainflume.toml",
            "chainflume.toml:2: outbox.retention: `a week` is not a length of time (write a number and a unit, like \"250ms\" or \"12s\")",
            "chainflume.toml:4: redis.url: the value has the scheme of another protocol, redis or rediss is wanted (write an address that begins with redis:// or rediss://)",
            "chainflume.toml:5: redis.prefix: `a b` is not a prefix (write at most 64 of letters, digits, `_`, `-`, `.` and `:`)",
            "chainflume.toml:6: redis.stream_length: `0` is too small (give a value from 1 to 1000000000)",
            "chainflume.toml:7: redis.timeout: `1h` is too large (give a value from 100ms to 1m)",
        ]
    );
}

#[test]
fn what_each_and_what_all_providers_lack_is_reported() {
    let two = "[[chain.provider]]\nhttp = \"https://one.example/a\"\nrole = \"history\"\n\
               [[chain.provider]]\nhttp = \"https://one.example/b\"\nrole = \"audit\"\n";
    assert_eq!(
        wrong(&after("http", two)),
        [
            "3 problems in chainflume.toml",
            "chainflume.toml:5: chain[0].http: is beside [[chain.provider]], which has the same meaning (move it into a [[chain.provider]] of its own, or remove it)",
            "chainflume.toml:6: chain[0].provider: leaves no provider to ask about the newest blocks (give one of them role = \"any\", or leave its role out)",
            "chainflume.toml:9: chain[0].provider[1].name: is called like another of this chain, and logs and metrics could not distinguish them (give each a name of its own: name = \"…\")",
        ]
    );
    let bad = "[[chain.provider]]\nurl = \"https://one.example\"\nrole = \"archive\"\npriority = 0\n";
    let problems = wrong(&with("http = \"https://node.example/v2/key-in-literal\"\n", bad));
    assert_eq!(
        problems,
        [
            "4 problems in chainflume.toml",
            "chainflume.toml:5: chain[0].provider[0].http: is missing (add http = \"https://…\", the address of a node)",
            "chainflume.toml:6: chain[0].provider[0].url: is not a key (remove it; known here: compute_units_per_second, headers, http, name, priority, requests_per_second, role, ws)",
            "chainflume.toml:7: chain[0].provider[0].role: `archive` is not known here (write one of any, live, history, audit)",
            "chainflume.toml:8: chain[0].provider[0].priority: `0` is too small (give a value from 1 to 1000)",
        ]
    );
}

#[test]
fn which_redis_is_meant_is_no_guess() {
    let wrong = |redis: &str| wrong(&format!("[redis]\n{redis}\n{RIGHT}"))[1..].to_vec();
    assert_eq!(
        wrong(
            "url = \"redis://one\"\nsentinels = [\"redis://two\"]\nmaster = \"m\"\ncluster = [\"redis://three\"]"
        ),
        [
            "chainflume.toml:3: redis.sentinels: is beside redis.url (keep one: url for a server, sentinels and master, or cluster)",
            "chainflume.toml:5: redis.cluster: is beside redis.url (keep one: url for a server, sentinels and master, or cluster)",
        ]
    );
    assert_eq!(
        wrong("sentinels = [\"redis://one\"]"),
        [
            "chainflume.toml:1: redis.master: is missing (write the name the sentinels know the master by, \"mymaster\" for instance)"
        ]
    );
    assert_eq!(
        wrong("master = \"mymaster\""),
        [
            "chainflume.toml:2: redis.master: is of no use without redis.sentinels (name the sentinels to ask, or remove it)"
        ]
    );
    assert_eq!(
        wrong(
            "sentinels = [\"redis://ada:hunter2@one\", \"two:26379\"]\nmaster = \"my master\"\nca_file = \"ca.pem\""
        ),
        [
            "chainflume.toml:2: redis.sentinels[1]: the value has the scheme of another protocol, redis or rediss is wanted (write an address that begins with redis:// or rediss://)",
            "chainflume.toml:3: redis.master: the value is not the name of a master (write \"mymaster\", or \"redis://user:password@mymaster\" where it asks for a password)",
        ]
    );
    assert_eq!(
        wrong("cluster = [\"redis://ada:hunter2@one/3\"]\nca_file = \"ca.pem\""),
        [
            "chainflume.toml:2: redis.cluster[0]: the value names a database, and a Cluster has none (end it behind the port)",
            "chainflume.toml:3: redis.ca_file: is of no use: nothing is reached by TLS (begin the addresses with rediss://)",
        ]
    );
    assert_eq!(
        wrong("url = \"redis://one\"\ncertificate_file = \"a.pem\"\nkey_file = \"b.pem\""),
        [
            "chainflume.toml:3: redis.certificate_file: is of no use: nothing is reached by TLS (begin the addresses with rediss://)",
        ]
    );
    assert_eq!(
        wrong("url = \"rediss://one\"\nkey_file = \"b.pem\""),
        [
            "chainflume.toml:1: redis.certificate_file: is missing (Redis needs a certificate and its key, or neither)"
        ]
    );
    assert_eq!(
        wrong("sentinels = [\"redis://one\"]\nmaster = \"${MASTER}\""),
        [
            "chainflume.toml:3: redis.master: the variable MASTER is not set (set it in the environment, name a file that holds the value in MASTER_FILE, or give a default: `${MASTER:-…}`)"
        ]
    );
}

#[test]
fn a_webhook_is_checked_and_its_secrets_are_never_shown() {
    let text = format!(
        r#"{RIGHT}
[[webhook]]
name = "crm"
url = "ftp://crm.example/secret-path"
secret = ["whsec_c2hvcnQ=", "not-a-secret"]
types = ["stake.*", "no spaces"]
retry_schedule = ["5s", "soon"]
allow_hosts = ["http://crm"]
in_flight = 0
[[webhook]]
name = "crm"
[alerts]
webhook = "slack"
over_after = "1ms"
"#
    );
    let problems = wrong(&text);
    let expected = [
        "12 problems in chainflume.toml",
        "chainflume.toml:16: webhook[0].url: the value has the scheme of another protocol, http or https is wanted (write an address that begins with http:// or https://)",
        "chainflume.toml:17: webhook[0].secret[0]: the value does not hold 24 to 64 bytes (write whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32))",
        "chainflume.toml:17: webhook[0].secret[1]: the value does not begin with whsec_ (write whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32))",
        "chainflume.toml:18: webhook[0].types[1]: `no spaces` is not a type of message (write a type like \"user.activated\", or the beginning of some and a star: \"stake.*\")",
        "chainflume.toml:19: webhook[0].retry_schedule[1]: `soon` is not a length of time (write a number and a unit, like \"250ms\" or \"12s\")",
        "chainflume.toml:20: webhook[0].allow_hosts[0]: `http://crm` is not a host (write a name or an address as it is in the url, without port)",
        "chainflume.toml:21: webhook[0].in_flight: `0` is too small (give a value from 1 to 64)",
        "chainflume.toml:22: webhook[1].url: is missing (add url = \"https://…\", where messages are sent)",
        "chainflume.toml:22: webhook[1].secret: is missing (add secret = \"whsec_…\", what the receiver checks signatures with)",
        "chainflume.toml:23: webhook[1].name: is that of another webhook too, on line 15 (give each its own)",
        "chainflume.toml:25: alerts.webhook: the value is not a url (write one that begins with http:// or https:// and names a host)",
        "chainflume.toml:26: alerts.over_after: `1ms` is too small (give a value from 100ms to 1day)",
    ];
    assert_eq!(problems, expected);
}
