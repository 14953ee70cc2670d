//! The serve role: the public server, from its configuration to its loops.

mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::application;
use super::database::store_error;
use super::error::AppError;
use super::inbound;
use super::loops::Loops;
use super::parts::{Loaded, admin_settings};
use super::trigger;
use crate::config::{AuthMode, Config, ServerConfig};
use chainflume_api::access::{Verifier, VerifyingKey};
use chainflume_api::routes::Api;
use chainflume_core::domain::causes;
use chainflume_gateway::feed::{self, Feed};
use chainflume_gateway::grants::Grants;
use chainflume_gateway::server::{Access, Auth, Jwks, PublicServer, Revoked, Settings, Sources, Tls};
use chainflume_ops::health::{Board, Heartbeat, PublicHealth};
use chainflume_ops::http::{AddressPolicy, HttpClient, HttpSettings};
use chainflume_ops::metrics;
use chainflume_ops::supervise::Loop;
use chainflume_outbox::Outbox;
use chainflume_store::Store;

/// These turn every second or two, and nothing in a turn takes longer than a few seconds.
const HUNG: Duration = Duration::from_secs(20);
/// How long a fetch of the issuer's keys may take.
const FETCH: Duration = Duration::from_secs(5);
/// How often the feed is compared with the outbox.
const LOOK: Duration = Duration::from_secs(2);

/// Takes the public address; `None` where none is configured.
///
/// # Errors
/// When it is taken, or not of this machine.
pub(crate) fn bind(loaded: &Loaded) -> Result<Option<PublicServer>, AppError> {
    let place = loaded.path.display();
    let settings = settings(&loaded.config.server);
    let settings = settings.map_err(|error| AppError::Config(format!("{place}: {error}")))?;
    let bound = settings.map(PublicServer::bind).transpose();
    bound.map_err(|error| {
        let text = format!("{place}: server.listen: {error}");
        if error.is_taken() { AppError::Busy(text) } else { AppError::Config(text) }
    })
}

/// Starts to hand out messages and to answer, among `tasks`, which are drained.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn start(
    server: PublicServer,
    config: &Config,
    store: &Store,
    loops: &Loops,
    tasks: &mut JoinSet<()>,
) -> Result<(), AppError> {
    let settings = feed::Settings { rules: config.push.clone(), ..config.server.feed.clone() };
    let feed = Feed::open(store, store.outbox(), settings).await.map_err(store_error)?;
    let grants = Grants::of(store);
    server.load(&grants).await.map_err(store_error)?;
    metrics::push_starts();
    metrics::application_starts();
    let position = feed.newest().to_string();
    loops.board().set_public(PublicHealth { position, ..PublicHealth::default() });
    tracing::info!(public = %server.address(), "public server answers");
    let (server, stop) = (Arc::new(server), loops.stop().clone());
    keep(loops, tasks, "feed", (feed.clone(), stop.clone()), |(feed, stop), heartbeat| async move {
        feed.run(stop, heartbeat).await;
    });
    keep(loops, tasks, "feed listener", (feed.clone(), stop.clone()), |(feed, stop), heartbeat| async move {
        feed.listen(stop, heartbeat).await;
    });
    let watched = (loops.board().clone(), feed.clone(), store.outbox(), stop.clone());
    keep(loops, tasks, "feed watch", watched, |(board, feed, outbox, stop), heartbeat| async move {
        watch(&board, &feed, &outbox, stop, heartbeat).await;
    });
    let access = (server.clone(), grants.clone(), stop.clone());
    keep(loops, tasks, "access", access, |(server, grants, stop), heartbeat| async move {
        server.keep_access(&grants, stop, heartbeat).await;
    });
    keep(
        loops,
        tasks,
        "issuer keys",
        (server.clone(), stop.clone()),
        |(server, stop), heartbeat| async move {
            server.keep_keys(stop, heartbeat).await;
        },
    );
    let limits = admin_settings(config).limits;
    let status = status::source(loops.board().clone(), limits, store.clone());
    let offered = offered(config, store, loops.board())?;
    let sources = Sources { feed, outbox: store.outbox(), grants, status, offered };
    keep(
        loops,
        tasks,
        "public server",
        (server, sources, stop),
        |(server, sources, stop), heartbeat| async move {
            if let Err(error) = heartbeat.wait(server.serve(sources, stop)).await {
                tracing::error!(%error, "public address lost");
            }
        },
    );
    Ok(())
}

/// What the other crates offer on the public listener.
fn offered(config: &Config, store: &Store, board: &Board) -> Result<Arc<[Api]>, AppError> {
    let publisher = application::publisher(config, store)?;
    let inbound = inbound::api(config, store, &publisher, board);
    let offered = [Some(publisher.api()), inbound, Some(trigger::api(config, store))];
    Ok(offered.into_iter().flatten().collect())
}

/// A loop that begins each time with a clone of `parts`.
fn keep<P, W>(
    loops: &Loops,
    tasks: &mut JoinSet<()>,
    name: &str,
    parts: P,
    start: impl Fn(P, Heartbeat) -> W + Send + 'static,
) where
    P: Clone + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    loops.spawn(tasks, Loop::new(name, HUNG), move |heartbeat| start(parts.clone(), heartbeat));
}

/// Compares what clients were sent with what is stored, for readiness: a feed that reads nothing stops no other task.
async fn watch(board: &Board, feed: &Feed, outbox: &Outbox, stop: CancellationToken, heartbeat: Heartbeat) {
    let mut stuck: Option<(u64, Instant)> = None;
    loop {
        let newest = feed.newest();
        let stored = heartbeat.wait(tokio::time::timeout(LOOK, outbox.state())).await;
        let (last, error) = match stored {
            Ok(Ok(state)) => (state.last, None),
            Ok(Err(error)) => (newest.seq, Some(causes(&error))),
            Err(_) => (newest.seq, Some(format!("no answer within {} s", LOOK.as_secs()))),
        };
        let lag = last.saturating_sub(newest.seq);
        stuck = match stuck {
            _ if lag == 0 => None,
            Some((seq, since)) if seq == newest.seq => Some((seq, since)),
            _ => Some((newest.seq, Instant::now())),
        };
        let stuck_since = stuck.map(|(_, since)| since);
        board.set_public(PublicHealth { position: newest.to_string(), lag, stuck_since, error });
        if !heartbeat.pause(LOOK, &stop).await {
            return;
        }
    }
}

fn settings(server: &ServerConfig) -> Result<Option<Settings>, String> {
    let Some(listen) = server.listen else { return Ok(None) };
    let tls =
        server.tls.clone().map(Tls::load).transpose().map_err(|error| format!("server.tls: {error}"))?;
    Ok(Some(Settings {
        listen,
        tls,
        auth: auth(server).map_err(|error| format!("server.auth: {error}"))?,
        listener: server.listener.clone(),
        limits: server.limits,
        revocations_kept: server.auth.revocations_kept,
    }))
}

fn auth(server: &ServerConfig) -> Result<Auth, String> {
    let auth = &server.auth;
    if auth.mode == AuthMode::None {
        return Ok(Auth::Open);
    }
    let secret = auth.secret.as_ref().map(|secret| VerifyingKey::from_secret(secret.expose().as_bytes()));
    let public = auth.public_key.as_deref().map(VerifyingKey::from_pem);
    let keys =
        secret.into_iter().chain(public).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let verifier = |keys| Verifier {
        keys,
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        // A token with a longer lifetime than its revocation is kept would be valid again.
        max_life: Some(auth.revocations_kept.as_secs()),
    };
    let issued = auth.jwks_url.as_ref().map(|url| {
        let settings = HttpSettings {
            url: url.expose().to_owned(),
            timeout: FETCH,
            reach: AddressPolicy::Anywhere,
            ca: None,
        };
        let client = HttpClient::new(&settings).map_err(|error| format!("jwks_url: {error}"))?;
        let verifier = verifier(Vec::new());
        Ok::<_, String>(Jwks::new(client, verifier, auth.algorithms.clone(), auth.jwks_refresh))
    });
    Ok(Auth::Required(Access {
        verifier: verifier(keys),
        issued: issued.transpose()?,
        keys: server.keys.clone(),
        revoked: Revoked::default(),
    }))
}
