//! `rewind`: an operator takes a chain back.

use crate::config;
use crate::roles::AppError;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::index::{explain, rereader};
use crate::roles::parts::Loaded;
use chainflume_core::domain::{B256, BlockId};
use chainflume_db::StoreError;
use chainflume_index::IndexerError;
use chainflume_node::Node;
use chainflume_store::{ChainStore, Rewind, Rewound};

/// How often the daemon may commit between our look and our rewind.
const TRIES: usize = 20;

/// Which chain to take back, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewindOptions {
    /// Name of the chain; may be left out where there is one.
    pub chain: Option<String>,
    /// The newest block that stays; `None` only looks for the newest block that the store and the node agree on.
    pub to: Option<u64>,
}

/// What was found or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewinding {
    /// The newest block found that the store and the node agree on, and the highest checkpoint; nothing was done.
    Agree {
        /// Everything up to here can stay; `None` where nothing that is stored is on the chain.
        common: Option<BlockId>,
        /// The highest checkpoint.
        tip: Option<BlockId>,
        /// The newest block of the node.
        head: u64,
    },
    /// It went back.
    Done(Rewound),
}

/// Undoes everything above a block, final or not, with the transaction that undoes a reorg; a running daemon goes on from
/// there.
///
/// # Errors
/// When the node or the database fails, or block `to` itself is not the one that is stored.
pub async fn rewind(loaded: &Loaded, args: &RewindOptions) -> Result<Rewinding, AppError> {
    let chain = find_chain(loaded, args.chain.as_deref())?;
    let database = OpenDatabase::open_daemons(loaded).await?;
    let outcome = rewind_in(loaded, &database, chain, args.to).await;
    database.close().await;
    outcome
}

async fn rewind_in(
    loaded: &Loaded,
    database: &OpenDatabase,
    chain: &config::Chain,
    to: Option<u64>,
) -> Result<Rewinding, AppError> {
    database.store.migrate().await.map_err(store_error)?;
    let rereader = rereader(loaded, &database.store, chain, chain.node.clone()).await?;
    let failed = |error: IndexerError| explain(loaded, chain, error);
    rereader.require_stored_genesis().await.map_err(failed)?;
    let mut nodes = rereader.providers.by_preference().into_iter().peekable();
    loop {
        let node = nodes.next().expect("a chain has at least one provider");
        let asked = rewind_by(&node, &rereader.store, to);
        if nodes.peek().is_none() {
            return asked.await?.map_err(failed);
        }
        match rereader.providers.with_probe_timeout(asked).await? {
            // A node is asked before anything is changed, so that nothing was done yet.
            Err(IndexerError::Chain(error)) => {
                tracing::warn!(chain = %chain.name, host = node.host(), %error, "a provider does not serve the rewind; the next one is tried");
            }
            outcome => return outcome.map_err(failed),
        }
    }
}

/// As one node has the chain. The outer error is the operator's, the inner one of node or database.
async fn rewind_by(
    node: &Node,
    store: &ChainStore,
    to: Option<u64>,
) -> Result<Result<Rewinding, IndexerError>, AppError> {
    if let Err(error) = node.check_chain().await {
        return Ok(Err(error.into()));
    }
    match to {
        Some(to) => Ok(back_to(node, store, to).await?.map(Rewinding::Done)),
        None => Ok(look(node, store).await),
    }
}

/// The outer error is the operator's, the inner one of node or database.
async fn back_to(
    node: &Node,
    store: &ChainStore,
    to: u64,
) -> Result<Result<Rewound, IndexerError>, AppError> {
    let theirs = match shown(node, to).await {
        Ok(Some(hash)) => BlockId { number: to, hash },
        Ok(None) => {
            return Err(AppError::Failed(format!(
                "{} has no block {to}: wait until it has synced, or use another node",
                node.host()
            )));
        }
        Err(error) => return Ok(Err(error)),
    };
    match store.hash_at(to).await {
        Ok(Some(ours)) if ours != theirs => {
            return Err(AppError::Failed(format!(
                "block {ours} is stored and the node has {theirs}: that block has to go as well. `chainflume rewind` without \
                 --to finds the newest block that both agree on"
            )));
        }
        Ok(_) => {}
        Err(error) => return Ok(Err(error.into())),
    }
    // What is undone is found by index, and the chain waits meanwhile.
    if let Err(error) = store.build_indexes().await {
        return Ok(Err(error.into()));
    }
    for _ in 0..TRIES {
        let outcome = match store.snapshot().await {
            Ok(held) => {
                store.rewind(&Rewind { expected: held.checkpoints, to: theirs, by_operator: true }).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            // The daemon committed in between.
            Err(StoreError::Conflict { .. }) => {}
            outcome => return Ok(outcome.map_err(IndexerError::from)),
        }
    }
    Err(AppError::Failed(format!("the chain moved {TRIES} times during the rewind; try again")))
}

/// Goes down in growing steps until store and node agree, then closes in on the height above which they do not. From the
/// tip and not from the middle: a node may have thrown old headers away.
async fn look(node: &Node, store: &ChainStore) -> Result<Rewinding, IndexerError> {
    let held = store.snapshot().await?;
    let tip = held.checkpoints.iter().filter_map(|checkpoint| checkpoint.at).max_by_key(|at| at.number);
    let head = node.head().await?.number;
    let Some(tip) = tip else { return Ok(Rewinding::Agree { common: None, tip: None, head }) };
    // A node that lags contradicts nothing above its head.
    let begin = tip.number.min(head);
    let (mut low, mut high, mut step) = (begin, begin + 1, 1);
    while !agree(node, store, low).await? {
        if low == 0 {
            return Ok(Rewinding::Agree { common: None, tip: Some(tip), head });
        }
        (high, low, step) = (low, low.saturating_sub(step), step * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match agree(node, store, middle).await? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(Rewinding::Agree { common: store.known_at_or_below(low).await?, tip: Some(tip), head })
}

/// Whether the highest block stored at or below a height is on the node's chain. Where nothing is stored nothing differs.
async fn agree(node: &Node, store: &ChainStore, height: u64) -> Result<bool, IndexerError> {
    match store.known_at_or_below(height).await? {
        Some(at) => Ok(shown(node, at.number).await? == Some(at.hash)),
        None => Ok(true),
    }
}

/// The hash of the node's block at a height, where it has one. The node shows with it which chain it is on.
async fn shown(node: &Node, number: u64) -> Result<Option<B256>, IndexerError> {
    let shown = node.identified_blocks(&[number]).await?;
    Ok(shown.blocks.into_iter().flatten().next().map(|block| block.hash))
}

fn find_chain<'a>(loaded: &'a Loaded, name: Option<&str>) -> Result<&'a config::Chain, AppError> {
    let chains = &loaded.config.chains;
    let found = match name {
        Some(name) => chains.iter().find(|chain| chain.name == name),
        None => chains.first().filter(|_| chains.len() == 1),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = chains.iter().map(|chain| chain.name.as_str()).collect();
        let wrong =
            name.map_or("--chain is needed".to_owned(), |name| format!("there is no chain \"{name}\""));
        AppError::Config(format!("{}: {wrong}; there are: {}", loaded.path.display(), names.join(", ")))
    })
}
