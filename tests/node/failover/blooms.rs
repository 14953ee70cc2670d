//! That a chain puts its logs into blooms is shown once for all of its providers: the hash of each header proves its bloom,
//! from whichever provider it comes.

use alloy_primitives::{Address, U256};
use chainflume_devchain::{Action, DevChain, RawLog, Settings, wallet};
use serde_json::Value;

use super::{Node, config, in_use};
use crate::flume::Flume;
use crate::postgres;

/// Adds blocks with a log that no source follows, each when the one before is stored.
async fn mine(chain: &DevChain, flume: &Flume, blocks: u64) {
    for _ in 0..blocks {
        let mint = Action::NftMint { to: wallet(1), token_id: U256::from(chain.head().number) };
        let strange = Action::Raw(Box::new(RawLog { address: Address::repeat_byte(0x77), ..mint.log() }));
        let head = chain.mine_with(vec![vec![strange]]).number;
        flume.until_tip("dev", head - 2).await;
    }
}

/// How many blocks this node was asked for all logs of, of all contracts: the samples that show that blooms are filled.
fn samples(node: &Node) -> usize {
    let journal = node.chain.faults().journal();
    let is_sample = |filter: &Value| filter["blockHash"].is_string() && filter["address"].is_null();
    journal.iter().filter(|call| call.method == "eth_getLogs" && is_sample(&call.params[0])).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_needs_no_samples_of_its_own() {
    let settings = Settings { history: 20, header_hashes: true, ..Settings::default() };
    let chain = DevChain::new(settings);
    let (one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
    one.chain.faults().record();
    other.chain.faults().record();
    let url = postgres::database().await;
    let flume = Flume::start(&config(&[one.provider("one", ""), other.provider("other", "")]), &url).await;
    flume.until_tip("dev", 18).await;
    flume.until("dev", "uses the first", |chain| in_use(chain) == "one").await;
    mine(&one.chain, &flume, 100).await;
    let earned = samples(&one);
    one.server.stop().await;
    flume.until("dev", "uses the other", |chain| in_use(chain) == "other").await;
    mine(&other.chain, &flume, 30).await;
    let more = samples(&other);
    println!("blocks read whole: {earned} of the first 100, {more} of the 30 after the change");
    assert!(earned >= 8, "{earned}");
    assert!(more <= 1, "{more}");
    flume.stop().await;
}
