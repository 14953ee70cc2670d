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
    let told = |user: &str| {
        let text = with("\"erc20\"", &format!("\"generic\"\nabi = \"pay.json\"\nuser = \"{user}\""));
        Given::default().file("pay.json", abi).wrong(&text)
    };
    assert_eq!(
        told("form"),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:12: source[0].user: is no argument of any event of the source (write one of to)",
        ]
    );
    assert_eq!(
        told("sum"),
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
