//! The names that the admin address accepts. A web page that the operator visits can make its own name resolve to the
//! loopback, and would then read data for this machine only. Such a request has the page's host name.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use chainflume_ops::http::host_fault;

/// Refuses a request without a name, or with two. Refuses one with a foreign name if the address is on the loopback: the names of any
/// other address are unknown here.
pub(super) async fn check(State(listen): State<SocketAddr>, request: Request, next: Next) -> Response {
    if let Some(fault) = host_fault(request.version(), request.headers()) {
        return (StatusCode::BAD_REQUEST, format!("{fault}\n")).into_response();
    }
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if listen.ip().is_loopback() && !named.is_none_or(is_loopback) {
        let text = "this address answers to localhost and to its number alone: ask it by one of them\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

/// Whether a `Host` header names this machine's loopback, with a port or without.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').filter(|(name, _)| !name.contains(':')).map_or(host, |(name, _)| name);
    let number = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || number.is_ok_and(|number| number.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_answered_to() {
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]:9464",
            "[::1]",
            "127.8.9.1:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "10.0.0.1:9464",
            "[2001:db8::1]:1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
