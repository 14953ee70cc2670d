//! Whether a node is asked to compress what it answers.

use chainflume_node::{Compression, Node};

use super::script::{Script, block, ok, result};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_plain_http_is_asked_not_to_compress() {
    let script = Script::serve(|call| ok(result(&call, &block(&call)).to_string())).await;
    for (compression, wanted) in
        [(Compression::Auto, "identity"), (Compression::Never, "identity"), (Compression::Always, "gzip")]
    {
        let settings = chainflume_node::ChainSettings { compression, ..script.settings() };
        let node = Node::new(&settings, &settings.providers[0]).expect("a client");
        node.block(7).await.expect("it answers").expect("it has the block");
        let asked = std::mem::take(&mut *script.encodings.lock().expect("no test panicked"));
        assert_eq!(asked, [wanted], "{compression:?}");
    }
}
