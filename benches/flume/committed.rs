//! Commits as another connection sees them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use chainflume_core::domain::B256;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Pause between two checks without a notification: commits without messages, as at the head, send none.
const UNASKED: Duration = Duration::from_millis(20);

/// Reads the checkpoint after each notification of a commit, so that it costs nothing in between; ends when dropped.
pub struct Watch {
    tips: mpsc::UnboundedReceiver<Tip>,
    _looking: AbortOnDropHandle<anyhow::Result<()>>,
}

/// A checkpoint, and when it was first seen.
#[derive(Clone, Copy, Debug)]
pub struct Tip {
    pub number: u64,
    pub hash: B256,
    pub at: Instant,
}

impl Watch {
    pub async fn start(pool: &PgPool) -> anyhow::Result<Self> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen("chainflume_outbox").await?;
        let (sender, tips) = mpsc::unbounded_channel();
        let looking = tokio::spawn(look(listener, pool.clone(), sender));
        Ok(Self { tips, _looking: AbortOnDropHandle::new(looking) })
    }

    /// The next checkpoint that differs from the one before.
    pub async fn next(&mut self) -> anyhow::Result<Tip> {
        self.tips.recv().await.context("the checkpoint cannot be read any more")
    }
}

async fn look(
    mut listener: PgListener,
    pool: PgPool,
    sender: mpsc::UnboundedSender<Tip>,
) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut last = None;
    // Number of the newest message in the commit of the present notification.
    let mut announced: Option<(String, Instant)> = None;
    loop {
        let sql = "select block_number, block_hash, seq::text from checkpoints, outbox_head";
        let row: Option<(i64, Vec<u8>, String)> =
            sqlx::query_as(sql).fetch_optional(&mut *connection).await?;
        let looked = Instant::now();
        if let Some((number, hash, seq)) = row {
            let tip = (u64::try_from(number)?, B256::try_from(hash.as_slice())?);
            // A notification arrives when the commit is visible. If it is for this commit, its time counts.
            let at = announced.filter(|(newest, _)| *newest == seq).map_or(looked, |(_, at)| at);
            if last.replace(tip) != Some(tip) && sender.send(Tip { number: tip.0, hash: tip.1, at }).is_err()
            {
                return Ok(());
            }
        }
        announced = match timeout(UNASKED, listener.recv()).await {
            Ok(notification) => Some((notification?.payload().to_owned(), Instant::now())),
            Err(_) => None,
        };
    }
}
