use crate::given::{Given, RIGHT, after, with};

fn wrong(text: &str) -> Vec<String> {
    Given::default().wrong(text)
}

/// `RIGHT` and a source more, on line 14.
fn another(source: &str) -> String {
    format!("{RIGHT}\n[[source]]\nchain = \"base\"\nstart_block = 1\n{source}")
}

#[test]
fn addresses_are_checked_digit_by_digit() {
    let addresses = r#"[
  "0x833589fcD6eDb6E08f4c7C32D4f71b54bdA02913",
  "0x0000000000000000000000000000000000000000",
  "usdc.eth",
  "0xbc4ca0eda7647a8ab7c2061c2e118a18a936f13d",
  "0xBC4CA0EdA7647A8aB7C2061c2E118A18a936f13D",
]"#;
    assert_eq!(
        wrong(&with("\"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\"", addresses)),
        [
            "4 problems in chainflume.toml",
            "chainflume.toml:12: source[0].address[0]: `0x833589fcD6eDb6E08f4c7C32D4f71b54bdA02913` does not match its checksum (EIP-55) (a digit or its case is wrong: copy it again from where it comes from, or write it in lower case)",
            "chainflume.toml:13: source[0].address[1]: `0x0000000000000000000000000000000000000000` is the zero address, which emits nothing (write the address of the contract)",
            "chainflume.toml:14: source[0].address[2]: `usdc.eth` is not an address (write 0x and 40 hex digits)",
            "chainflume.toml:16: source[0].address[4]: `0xBC4CA0EdA7647A8aB7C2061c2E118A18a936f13D` is listed twice (remove one of the two)",
        ]
    );
    assert_eq!(
        wrong(&with("\"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\"", "[]")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:11: source[0].address: is empty (name at least one contract, or write \"any\" for all of the chain)",
        ]
    );
}

#[test]
fn names_and_chain_ids_are_used_once() {
    let text = format!(
        "{}\n[[chain]]\nname = \"base\"\nchain_id = 8453\nhttp = \"http://other\"\n",
        another(
            "name = \"usdc\"\nfamily = \"erc721\"\naddress = \"0x2222222222222222222222222222222222222222\""
        )
    );
    assert_eq!(
        wrong(&text),
        [
            "3 problems in chainflume.toml",
            "chainflume.toml:17: source[1].name: is that of another source too, on line 8 (give each its own)",
            "chainflume.toml:21: chain[1].name: is that of another chain too, on line 3 (give each its own)",
            "chainflume.toml:22: chain[1].chain_id: is that of another chain too, on line 4 (give each its own)",
        ]
    );
}

#[test]
fn a_source_needs_a_known_chain_and_a_chain_a_source() {
    assert_eq!(
        wrong(&with("chain = \"base\"", "chain = \"bace\"")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:9: source[0].chain: `bace` is no chain of this file (did you mean `base`?)",
        ]
    );
    assert_eq!(
        wrong(&format!("{RIGHT}\n[[chain]]\nname = \"idle\"\nchain_id = 5\nhttp = \"http://node\"")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:15: chain[1].name: `idle` is a chain no source reads (add a [[source]] with this chain, or remove the chain)",
        ]
    );
}

#[test]
fn a_setting_of_another_family_is_reported() {
    assert_eq!(
        wrong(&after("start_block", "decimals = 6\nuser = \"from\"")),
        [
            "2 problems in chainflume.toml",
            "chainflume.toml:13: source[0].decimals: has a meaning for family = \"stake\" alone (remove it: amounts are kept in base units)",
            "chainflume.toml:14: source[0].user: has a meaning for family = \"generic\" alone (remove it: this family knows whom its events are about)",
        ]
    );
    let any = with("erc20", "stake").replace("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "any");
    assert_eq!(
        wrong(&any),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:11: source[0].address: \"any\" would let every contract of the chain credit stakes to users (name the vault's address)",
        ]
    );
    assert_eq!(
        wrong(&with("erc20", "generic")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:7: source[0].abi: is missing: the generic family has none of its own (add abi = \"…\", the contract's ABI as JSON, relative to this file)",
        ]
    );
}

#[test]
fn stakes_are_counted_in_one_unit() {
    let vault =
        "name = \"vault\"\nfamily = \"stake\"\naddress = \"0x2222222222222222222222222222222222222222\"\n";
    let old = "name = \"old_vault\"\nfamily = \"stake\"\naddress = \"0x3333333333333333333333333333333333333333\"\ndecimals = 18\n";
    let text = format!("{}[[source]]\nchain = \"base\"\nstart_block = 1\n{old}", another(vault));
    assert_eq!(
        wrong(&text),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:26: source[2].decimals: differ from those of the stake source on line 14 (give all stake sources the same: their amounts are summed for each user)",
        ]
    );
}

#[test]
fn a_log_belongs_to_one_source() {
    let text =
        another("name = \"everything\"\nfamily = \"erc20\"\naddress = \"any\"\nevents = [\"Approval\"]");
    assert_eq!(
        wrong(&text),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:19: source[1].address: the source of line 7 and this one: both take Approval(address,address,uint256) with 3 topics from the same contract (narrow `address` or `events` of one of the two: a log belongs to one source)",
        ]
    );
    // The same contract twice is right as long as the events differ; so are ERC-20 and ERC-721, by topics.
    let text = another("name = \"all_nfts\"\nfamily = \"erc721\"\naddress = \"any\"");
    assert_eq!(Given::default().right(&text).sources.len(), 2);
}

#[test]
fn the_user_is_an_address_among_the_arguments() {
    let abi = r#"[
        {"type":"event","name":"Paid","inputs":[{"name":"to","type":"address"},{"name":"sum","type":"uint256"}]},
        {"type":"event","name":"Closed","inputs":[]}
    ]"#;
    let problems_of = |user: &str| {
        let text = with("\"erc20\"", &format!("\"generic\"\nabi = \"pay.json\"\nuser = \"{user}\""));
        Given::default().file("pay.json", abi).wrong(&text)
    };
    assert_eq!(
        problems_of("form"),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:12: source[0].user: is no argument of any event of the source (write one of to)",
        ]
    );
    assert_eq!(
        problems_of("sum"),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:12: source[0].user: is of type uint256 in Paid(address,uint256), and a user is an address (name an argument that is an address, or leave the event out of `events`)",
        ]
    );
}

#[test]
fn a_family_has_an_event_it_knows() {
    let abi = r#"[{"type":"event","name":"Closed","inputs":[]}]"#;
    let text = after("start_block", "abi = \"pay.json\"");
    assert_eq!(
        Given::default().file("pay.json", abi).wrong(&text),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:10: source[0].family: is erc20, and the source has no Transfer(address,address,uint256) or Approval(address,address,uint256) (add the event to `events`, or use family = \"generic\" for other events)",
        ]
    );
}

#[test]
fn two_sources_do_not_share_a_view() {
    let abi =
        r#"[{"type":"event","name":"Closed","inputs":[]}, {"type":"event","name":"BoxClosed","inputs":[]}]"#;
    let source = |name: &str, event: &str, digit: &str| {
        let address = format!("0x{}", digit.repeat(40));
        format!(
            "[[source]]\nname = \"{name}\"\nchain = \"base\"\nfamily = \"generic\"\naddress = \"{address}\"\n\
             abi = \"box.json\"\nevents = [\"{event}\"]\nstart_block = 0\n"
        )
    };
    let text = format!("{RIGHT}{}{}", source("a", "BoxClosed", "2"), source("a_box", "Closed", "3"));
    assert_eq!(
        Given::default().file("box.json", abi).wrong(&text),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:22: source[2].name: gives the view a_box_closed, which the source `a` has too (rename one of the two sources)",
        ]
    );
}

#[test]
fn a_first_block_is_a_number_or_latest() {
    assert_eq!(
        wrong(&with("100", "\"newest\"")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:12: source[0].start_block: `newest` is not known here (write a block number or \"latest\")",
        ]
    );
    assert_eq!(
        wrong(&with("100", "[100]")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:12: source[0].start_block: is an array, an integer is wanted (write a whole number without quotes)",
        ]
    );
}

#[test]
fn a_last_block_is_not_below_the_first() {
    let text = after("start_block", "end_block = 99");
    assert_eq!(
        wrong(&text),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:13: source[0].end_block: is below start_block, so that no block would be read (give 100 or more, or leave it out to follow the head)",
        ]
    );
    Given::default().right(&text.replace("99", "100"));
    Given::default().right(&text.replace("start_block = 100", "start_block = \"latest\""));
}

#[test]
fn a_filter_names_indexed_arguments_and_values_of_their_types() {
    let source = |filter: &str| {
        RIGHT.replace("erc20", "generic").replace(
            "start_block",
            &format!(
                "events = [\"event Moved(address indexed from, uint8 indexed kind, uint256 amount)\", \"event Closed(address who)\"]\n\
                 where = {filter}\nstart_block"
            ),
        )
    };
    let wrong = |filter: &str| wrong(&source(filter)).into_iter().skip(1).collect::<Vec<_>>();
    let line = |key: &str, text: &str| vec![format!("chainflume.toml:13: source[0].where{key}: {text}")];
    let whole = "from (address), kind (uint8)";
    for (filter, key, text) in [
        ("3", "", "is an integer, a table is wanted (write { event = \"Transfer\", to = [\"0x…\"] }, or a list of such tables)".to_owned()),
        ("{ from = \"0x00000000000000000000000000000000000000aa\" }", ".event", "is missing (add event = \"…\", the event whose logs are meant)".to_owned()),
        ("{ event = \"Transfer\" }", ".event", "`Transfer` is no event of the source (it has Moved(address,uint8,uint256), Closed(address))".to_owned()),
        ("{ event = \"Moved\" }", "", format!("names no argument (add values for one of {whole})")),
        ("[{ event = \"Moved\", to = 1 }]", "[0].to", format!("is no argument of Moved(address,uint8,uint256) (write one of {whole})")),
        ("{ event = \"Moved\", amount = 1 }", ".amount", format!("is not indexed in Moved(address,uint8,uint256), so that no node can look for it (write one of {whole})")),
        ("{ event = \"Closed\", who = 1 }", ".who", "is not indexed in Closed(address), so that no node can look for it (write one of none: no argument of it is indexed)".to_owned()),
        ("{ event = \"Moved\", kind = [1, 256] }", ".kind[1]", "`256` is no uint8 (write it in decimal digits, or as 0x…)".to_owned()),
        ("{ event = \"Moved\", from = [\"usdc.eth\"] }", ".from[0]", "`usdc.eth` is not an address (write 0x and 40 hex digits)".to_owned()),
        ("{ event = \"Moved\", from = [] }", ".from", "is empty, so that no log would be followed (name a value, or remove it)".to_owned()),
    ] {
        assert_eq!(wrong(filter), line(key, &text), "{filter}");
    }
    let config = Given::default().right(&source("[{ event = \"Moved\", from = \"0x0000000000000000000000000000000000000000\" }, { event = \"Moved\", kind = [1, \"0x2\"] }]"));
    let filters: Vec<String> =
        config.sources[0].events.iter().map(|event| event.filter.to_string()).collect();
    let word = |n: u8| format!("0x{n:064x}");
    assert_eq!(filters, [format!("2={},{}|1={}", word(1), word(2), word(0)), String::new()]);
}

#[test]
fn a_filter_is_for_a_family_that_keeps_no_sums() {
    let text = after(
        "start_block",
        "where = { event = \"Transfer\", to = \"0x00000000000000000000000000000000000000aa\" }",
    );
    assert_eq!(
        wrong(&text),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:13: source[0].where: has a meaning for family = \"generic\" alone (use family = \"generic\", or remove it: of a part of the logs balances, owners and stakes would be wrong)",
        ]
    );
}

#[test]
fn events_that_mint_or_burn_have_a_holder_and_an_amount() {
    let wrong = |keys: &str| wrong(&after("start_block", keys)).into_iter().skip(1).collect::<Vec<_>>();
    let line = |key: &str, text: &str| vec![format!("chainflume.toml:12: source[0].{key}: {text}")];
    for (keys, key, text) in [
        (
            "mints = [\"Deposit\"]",
            "mints[0]",
            "`Deposit` is no event of the source (it has Transfer(address,address,uint256), Approval(address,address,uint256); or write the event: \"event Deposit(address indexed dst, uint256 wad)\")",
        ),
        (
            "burns = [\"Transfer\"]",
            "burns[0]",
            "`Transfer` has a meaning already (remove it: transfers and approvals are counted as such)",
        ),
        (
            "mints = [\"event Mint(address by, address to, uint256 wad)\"]",
            "mints[0]",
            "`event Mint(address by, address to, uint256 wad)` has 2 addresses and 1 numbers, and one of each decides a balance (name an event with one address, the holder, and one uint, the amount)",
        ),
        (
            "mints = [\"event D(address a, uint256 b)\"]\nburns = [\"D\"]",
            "burns[0]",
            "`D` is in `mints` too (remove it from one of the two)",
        ),
    ] {
        let found: Vec<String> = wrong(keys)
            .into_iter()
            .map(|found| found.replace("toml:13:", "toml:12:").replace("toml:14:", "toml:12:"))
            .collect();
        assert_eq!(found, line(key, text), "{keys}");
    }
    let text = after("start_block", "burns = [\"Transfer\"]").replace("erc20", "erc721");
    assert_eq!(
        self::wrong(&text)[1..],
        [
            "chainflume.toml:13: source[0].burns: has a meaning for family = \"erc20\" alone (remove it: this family keeps no balances)"
        ]
    );
    let config = Given::default()
        .right(&after("start_block", "mints = [\"event Deposit(address indexed dst, uint256 wad)\"]"));
    let events: Vec<&str> = config.sources[0].events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["Transfer", "Approval", "Deposit"]);
}
