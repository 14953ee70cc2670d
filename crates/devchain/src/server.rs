//! One port: HTTP POST and WebSocket serve JSON-RPC; any other request gets a page with an explanation.

mod http;
mod ws;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{DevChain, DevChainError};
use crate::connection::{Breakable, ServedConnection};

const PAGE: &str = "This is a Chainflume development chain: an EVM chain that only pretends.\n\
    POST JSON-RPC here, or open a WebSocket at this address.\n\n  \
    curl -H 'content-type: application/json' \
    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}' <this address>\n";

/// A listening node. Dropping it closes its port and breaks every connection soon after. [`Self::stop`] returns when
/// this is done and the port is free again.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    running: CancellationToken,
    listening: JoinHandle<()>,
}

impl DevChain {
    /// Serves JSON-RPC over HTTP and WebSocket on `address`, `127.0.0.1:0` for any free port.
    /// A chain may have several servers, in sequence or in parallel.
    pub async fn serve(&self, address: &str) -> Result<Server, DevChainError> {
        Server::start(self.clone(), address).await
    }
}

impl Server {
    pub(super) async fn start(chain: DevChain, address: &str) -> Result<Self, DevChainError> {
        let listen = |source| DevChainError::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let running = CancellationToken::new();
        let app = Router::new().fallback(meet).with_state(chain);
        let app = app.into_make_service_with_connect_info::<ServedConnection>();
        let serving = axum::serve(Breakable { listener, running: running.clone() }, app);
        let stopping = running.clone();
        let listening = tokio::spawn(async move {
            // Not axum's graceful shutdown: a node that fails does not wait for its callers.
            tokio::select! {
                _ = serving.into_future() => {}
                () = stopping.cancelled() => {}
            }
        });
        Ok(Self { address, running, listening })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For JSON-RPC over HTTP.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// For JSON-RPC over WebSocket.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Closes the port and breaks every connection. The chain remains.
    pub async fn stop(mut self) {
        self.running.cancel();
        // An error would be a panic of the task, which was reported already.
        let _ = (&mut self.listening).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.cancel();
    }
}

async fn meet(
    State(chain): State<DevChain>,
    ConnectInfo(connection): ConnectInfo<ServedConnection>,
    method: Method,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    body: Bytes,
) -> Response {
    match upgrade {
        Ok(_) if chain.faults.behaviour().refuses_sockets() => {
            (StatusCode::SERVICE_UNAVAILABLE, "no websocket here\n").into_response()
        }
        Ok(upgrade) => upgrade.on_upgrade(|socket| ws::session(chain, socket, connection)),
        Err(_) if method == Method::POST => http::answer(&chain, &body, &connection).await,
        Err(_) => PAGE.into_response(),
    }
}
