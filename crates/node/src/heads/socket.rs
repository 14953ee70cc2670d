//! Opens the WebSocket, and finds out why it does not open.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{SinkExt, StreamExt};
use percent_encoding::percent_decode_str;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::CloseReason;
use crate::error::remedy;
use crate::settings::{ChainSettings, ProviderSettings};
use chainflume_ops::http::build_client;
use chainflume_ops::tls;

type HeadSocket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Opens a WebSocket and subscribes to new heads. Does not wait for the answer to the subscription.
pub(super) async fn subscribed(url: &str, headers: &HeaderMap) -> Result<HeadSocket, CloseReason> {
    tls::install();
    // A head has one or two kilobytes.
    let config = WebSocketConfig::default().max_message_size(Some(1 << 20)).max_frame_size(Some(1 << 20));
    let connecting =
        tokio_tungstenite::connect_async_with_config(handshake(url, headers)?, Some(config), true);
    let (mut socket, _) = match connecting.await {
        Ok(connected) => connected,
        Err(error) => return Err(refusal(&error, url, headers).await),
    };
    let subscribe = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"] });
    socket.send(Message::text(subscribe.to_string())).await.map_err(|e| e.to_string())?;
    Ok(socket)
}

/// The request that opens the socket. User and password of the URL become a header of Basic authentication (RFC
/// 7617), as in HTTP requests. The WebSocket library leaves them out.
fn handshake(url: &str, headers: &HeaderMap) -> Result<Request, CloseReason> {
    let mut place = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    let decoded = |part: &str| percent_decode_str(part).collect::<Vec<u8>>();
    let credentials =
        [decoded(place.username()), b":".to_vec(), decoded(place.password().unwrap_or_default())].concat();
    let has_user = !place.username().is_empty() || place.password().is_some();
    let (_, _) = (place.set_username(""), place.set_password(None));
    let mut request = place.as_str().into_client_request().map_err(|error| error.to_string())?;
    request.headers_mut().extend(headers.clone());
    if has_user {
        let value = format!("Basic {}", BASE64.encode(credentials));
        let mut value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Why the socket did not open, with status and remedy where the server answered.
async fn refusal(error: &Error, url: &str, headers: &HeaderMap) -> CloseReason {
    let status = match error {
        Error::Http(response) => Some(response.status()),
        Error::Protocol(ProtocolError::WrongHttpVersion) => status_of(url, headers).await,
        Error::Io(_) | Error::Tls(_) => {
            let reason = error.to_string();
            return CloseReason { remedy: remedy(&reason), reason };
        }
        _ => None,
    };
    let Some(status) = status else { return error.to_string().into() };
    let remedy = match status.as_u16() {
        401 | 403 => "check user, password or key of the url",
        404 | 405 => "check the path of the url, and that the node has WebSocket enabled",
        300..=399 => "redirects are not followed: configure the url that it leads to",
        _ => "",
    };
    CloseReason { reason: format!("the handshake was answered {status}"), remedy: remedy.into() }
}

/// The status of a server that answers in HTTP/1.0, which has no WebSockets. The WebSocket library reads only the
/// version of such an answer. So the URL is requested again, without a handshake.
async fn status_of(url: &str, headers: &HeaderMap) -> Option<StatusCode> {
    let url = url.replacen("ws", "http", 1);
    let builder = || {
        let redirect = reqwest::redirect::Policy::none();
        reqwest::Client::builder().no_proxy().redirect(redirect).default_headers(headers.clone())
    };
    let answer = build_client(&url, builder).ok()?.get(url).send().await.ok()?;
    Some(answer.status())
}

/// Opens the WebSocket and waits until the node accepts a subscription to new heads.
///
/// # Errors
/// The reason, as a text for people.
async fn probe(url: &str, headers: &HeaderMap, limit: Duration) -> Result<(), CloseReason> {
    let asked = async {
        let mut socket = subscribed(url, headers).await?;
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message.map_err(|e| e.to_string())? else { continue };
            let answer: Value = serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}"))?;
            if let Some(error) = answer.get("error") {
                return Err(format!("newHeads refused: {}", error["message"]).into());
            }
            if answer["result"].is_string() {
                return Ok(());
            }
        }
        Err("closed by the node".to_owned().into())
    };
    timeout(limit, asked).await.map_err(|_| "no answer in time".to_owned())?
}

/// Checks that the provider's WebSocket opens and accepts a subscription to new heads. Passes for a provider without
/// a WebSocket.
///
/// # Errors
/// The reason as a text for people, without any key of the URLs.
pub async fn check_websocket(settings: &ChainSettings, provider: &ProviderSettings) -> Result<(), String> {
    let Some(url) = &provider.ws_url else { return Ok(()) };
    let reason = probe(url, &provider.headers, settings.request_timeout).await;
    reason.map_err(|reason| reason.shown(&settings.secrets()))
}
