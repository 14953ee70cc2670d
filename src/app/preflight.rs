//! Looks at nodes and database before anything is written.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use futures_util::future::join_all;

use crate::roles::AppError;
use crate::roles::parts::Loaded;
use chainflume_node::{
    ChainError, ChainSettings, Node, ProviderGroup, ProviderRole, ProviderSettings, check_essentials, probing,
};

/// The result of one provider.
pub(super) struct NodeCheck {
    pub chain: String,
    pub provider: String,
    /// What it is for.
    pub role: ProviderRole,
    /// The lower, the rather it is asked.
    pub priority: u32,
    /// Newest block.
    pub outcome: Result<u64, ChainError>,
    /// Why it does not answer logs; `None` where it does, or was not asked.
    pub no_logs: Option<ChainError>,
}

/// How closely a provider is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Whether it is there and on the right chain.
    Head,
    /// Also whether it answers the logs of a block.
    Logs,
}

impl NodeCheck {
    /// What is wrong with it.
    pub(super) fn error(&self) -> Option<&ChainError> {
        self.outcome.as_ref().err().or(self.no_logs.as_ref())
    }

    /// Whether it is on another chain.
    pub(super) fn is_wrong(&self) -> bool {
        self.outcome.as_ref().is_err_and(ChainError::is_wrong_chain)
    }

    /// What it is called in messages: the name of the chain is enough for a single provider.
    pub(super) fn place(&self, loaded: &Loaded) -> String {
        if matches!(self.outcome, Err(ChainError::GenesisDiffers { .. })) {
            return loaded.key(&self.chain, "provider");
        }
        let several = loaded
            .config
            .chains
            .iter()
            .any(|chain| chain.name == self.chain && chain.node.providers.len() > 1);
        if several {
            return loaded.key(&self.chain, &format!("provider \"{}\"", self.provider));
        }
        loaded.key(&self.chain, "http")
    }
}

/// Asks every provider for its chain id, block 0 and head, and for more after a closer look.
pub(super) async fn nodes(loaded: &Loaded, look: Look) -> Vec<NodeCheck> {
    let chains = loaded.config.chains.iter().map(|chain| nodes_of(chain.node.clone(), look));
    join_all(chains).await.into_iter().flatten().collect()
}

async fn nodes_of(settings: ChainSettings, look: Look) -> Vec<NodeCheck> {
    let group = ProviderGroup::default();
    let asked =
        settings.providers.iter().map(|provider| check(&settings, provider.clone(), group.clone(), look));
    let mut checks = join_all(asked).await;
    if let Err(error) = group.agree() {
        checks.push(NodeCheck {
            chain: settings.name.clone(),
            provider: String::new(),
            role: ProviderRole::Any,
            priority: 0,
            outcome: Err(error),
            no_logs: None,
        });
    }
    checks
}

/// A few tries: a node that is just starting is no reason to fail, one that is away is reported in seconds. Of several, one that does
/// not answer at once is not waited for: another may, and the daemon is to begin with that one.
async fn check(
    settings: &ChainSettings,
    provider: ProviderSettings,
    group: ProviderGroup,
    look: Look,
) -> NodeCheck {
    let alone = settings.providers.len() == 1;
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(300))
        .with_max_times(if alone { 3 } else { 1 })
        .with_jitter();
    let (asked, brief) = (|| ask(settings, &provider, &group, look), settings.failover.probe_timeout);
    let asked = || async { if alone { asked().await } else { probing(brief, asked()).await } };
    // A person waits for a closer look, and a node that hangs has had the time that is configured.
    let hangs = |error: &ChainError| look == Look::Logs && matches!(error, ChainError::Timeout { .. });
    let may_pass = |error: &ChainError| !error.is_wrong_chain() && !hangs(error);
    let outcome = asked.retry(backoff).when(may_pass).await;
    let ProviderSettings { label, role, priority, .. } = provider;
    let (outcome, no_logs) = match outcome {
        Ok((head, no_logs)) => (Ok(head), no_logs),
        Err(error) => (Err(error), None),
    };
    NodeCheck { chain: settings.name.clone(), provider: label, role, priority, outcome, no_logs }
}

/// Its newest block, and why it does not answer logs.
async fn ask(
    settings: &ChainSettings,
    provider: &ProviderSettings,
    group: &ProviderGroup,
    look: Look,
) -> Result<(u64, Option<ChainError>), ChainError> {
    let node = Node::among(settings, provider, group.clone())?;
    node.check_chain().await?;
    if let Some(tag) = settings.tag {
        node.check_tag(tag).await?;
    }
    let head = node.head().await?;
    let no_logs = match look {
        Look::Head => None,
        Look::Logs => check_essentials(&node, settings, group, head).await.err(),
    };
    Ok((head.number, no_logs))
}

/// How long a start waits for a chain all of whose nodes are on another one: a load balancer sends us to another chain's backend
/// for seconds, and a daemon that runs waits that out. What is configured wrongly is reported after it.
const COMES_ROUND: Duration = Duration::from_secs(10);
/// Between two looks at such nodes.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks at every provider before a start, again for a while where one chain's are all on another chain.
///
/// # Errors
/// As [`may_start`].
pub(super) async fn patiently(loaded: &Loaded) -> Result<(), AppError> {
    let began = Instant::now();
    loop {
        let checks = nodes(loaded, Look::Head).await;
        let verdict = may_start(loaded, &checks);
        let Err(AppError::Config(wrong)) = &verdict else { return verdict };
        if began.elapsed() + AGAIN > COMES_ROUND {
            return verdict;
        }
        tracing::warn!(%wrong, "the nodes of a chain are on another chain; they are asked again for {} s", COMES_ROUND.as_secs());
        tokio::time::sleep(AGAIN).await;
    }
}

/// What keeps a daemon from starting: a chain all of whose nodes are on another one, or no node at all that can be
/// reached. One chain's outage is no reason to stop the others, and is waited out; so is one of several providers that
/// has moved to another chain overnight: it is not asked for anything.
pub(super) fn may_start(loaded: &Loaded, checks: &[NodeCheck]) -> Result<(), AppError> {
    let line = |check: &NodeCheck| {
        let error = check.outcome.as_ref().err()?;
        Some(format!("{}: {error}", check.place(loaded)))
    };
    let right = |chain: &str| checks.iter().any(|check| check.chain == chain && !check.is_wrong());
    let wrong = checks.iter().filter(|check| check.is_wrong() && !right(&check.chain));
    let wrong: Vec<String> = wrong.filter_map(line).collect();
    if !wrong.is_empty() {
        return Err(AppError::Config(wrong.join("\n")));
    }
    // A node without the tag is there, and may have it later.
    let away = |check: &NodeCheck| {
        check.outcome.as_ref().is_err_and(|error| !matches!(error, ChainError::NoTag { .. }))
    };
    if checks.iter().all(away) {
        let all: Vec<String> = checks.iter().filter_map(line).collect();
        return Err(AppError::Unavailable(all.join("\n")));
    }
    for error in checks.iter().filter_map(line) {
        tracing::warn!(error, "a chain starts without this node, and waits for it or turns to another");
    }
    Ok(())
}
