//! The serve role: the public server, from its configuration to its loops.

mod status;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::admin::Background;
use super::database::store_error;
use super::error::AppError;
use super::parts::{Loaded, admin_settings};
use crate::config::{AuthMode, Config, Server};
use chainflume_access::{KeyError, PublicRooms, Verifier, VerifyingKey};
use chainflume_gateway::feed::{self, Feed};
use chainflume_gateway::server::{Auth, PublicServer, Settings};
use chainflume_ops::metrics;
use chainflume_store::Store;

/// Takes the public address; `None` where none is configured.
///
/// # Errors
/// When it is taken, or not of this machine.
pub(crate) fn bind(loaded: &Loaded) -> Result<Option<PublicServer>, AppError> {
    let place = loaded.path.display();
    let settings = settings(&loaded.config.server);
    let settings = settings.map_err(|error| AppError::Config(format!("{place}: server.auth: {error}")))?;
    let bound = settings.map(PublicServer::bind).transpose();
    bound.map_err(|error| {
        let text = format!("{place}: server.listen: {error}");
        if error.is_taken() { AppError::Busy(text) } else { AppError::Config(text) }
    })
}

/// Starts to hand out messages and to answer, until `stop`.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn start(
    server: PublicServer,
    (config, store): (&Config, &Store),
    background: &mut Background,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let Server { hot_bytes, queue_bytes, .. } = config.server;
    let settings = feed::Settings { rules: config.push.clone(), hot_bytes, queue_bytes };
    let feed = Feed::open(store.outbox(), settings).await.map_err(store_error)?;
    metrics::push_starts();
    tracing::info!(public = %server.address(), "public server answers");
    let limits = admin_settings(config).limits;
    let server = server.with_status(status::source(background.board().clone(), limits, store.clone()));
    let (tail, ear, server) = (feed.clone(), feed.clone(), Arc::new(server));
    let until = stop.clone();
    background.keep_until("feed", stop, move |heartbeat| {
        let (feed, stop) = (tail.clone(), until.clone());
        async move { feed.run(stop, heartbeat).await }
    });
    let until = stop.clone();
    background.keep_until("feed listener", stop, move |heartbeat| {
        let (feed, stop) = (ear.clone(), until.clone());
        async move { feed.listen(stop, heartbeat).await }
    });
    let until = stop.clone();
    background.keep_until("public server", stop, move |heartbeat| {
        let (server, feed, stop) = (server.clone(), feed.clone(), until.clone());
        async move {
            if let Err(error) = heartbeat.wait(server.serve(feed, stop)).await {
                tracing::error!(%error, "public address lost");
            }
        }
    });
    Ok(())
}

fn settings(server: &Server) -> Result<Option<Settings>, KeyError> {
    let Some(listen) = server.listen else { return Ok(None) };
    Ok(Some(Settings {
        listen,
        auth: auth(server)?,
        cors_origins: server.cors_origins.clone(),
        public_rooms: PublicRooms(server.public_rooms.clone()),
        max_connections: server.max_connections,
    }))
}

fn auth(server: &Server) -> Result<Auth, KeyError> {
    let auth = &server.auth;
    if auth.mode == AuthMode::None {
        return Ok(Auth::Open);
    }
    let secret = auth.secret.as_ref().map(|secret| VerifyingKey::from_secret(secret.expose().as_bytes()));
    let public = auth.public_key.as_deref().map(VerifyingKey::from_pem);
    let keys = secret.into_iter().chain(public).collect::<Result<_, _>>()?;
    let verifier = Verifier { keys, issuer: auth.issuer.clone(), audience: auth.audience.clone() };
    Ok(Auth::Required { verifier, keys: server.keys.clone() })
}
