//! What an operator can do about an error of a node.

use std::borrow::Cow;

use chainflume_ops::tls::{TlsFault, wrong_variable};

use crate::limits::RefusalKind;

/// The remedy for a node that cannot be reached, over HTTP or WebSocket.
pub(crate) fn remedy(reason: &str) -> Cow<'static, str> {
    let fault = TlsFault::of(reason);
    if matches!(fault, Some(TlsFault::NoAuthorities | TlsFault::UnknownAuthority))
        && let Some(wrong) = wrong_variable()
    {
        return wrong.into();
    }
    let known = match fault {
        Some(TlsFault::NoAuthorities) => {
            "this machine has no certificate authorities: install ca-certificates, or name a file in the variable SSL_CERT_FILE"
        }
        Some(TlsFault::UnknownAuthority) if std::env::var_os("SSL_CERT_FILE").is_some() => {
            "the node's certificate is of an authority that is not in the file of SSL_CERT_FILE: add it there, or correct the variable"
        }
        Some(TlsFault::UnknownAuthority) => {
            "the node's certificate is of an authority that this machine does not know: name the authority's file in the variable \
             SSL_CERT_FILE"
        }
        Some(TlsFault::OtherName) => {
            "the node's certificate is for another name: write that name into the url"
        }
        Some(TlsFault::AuthorityAsServer) => {
            "the node's certificate is that of an authority: let it sign another certificate for the node (basicConstraints CA:FALSE)"
        }
        Some(TlsFault::Certificate) => "renew the node's certificate, or correct the clock of this machine",
        Some(TlsFault::NoTls) => "the port does not speak TLS: write http:// or ws://, or another port",
        Some(TlsFault::ClientCertificate) => {
            "the node wants a certificate of the client, which cannot be configured: use another port or a proxy before it"
        }
        Some(TlsFault::ClientRefused) => {
            "the node refuses this client: use another port or a proxy with an accepted certificate before it"
        }
        None if reason.ends_with(UNLESS_EXEMPT) => "check the proxy, the url, and that the node runs",
        None if reason.contains(BY_PROXY) => {
            "check that the proxy runs, or name the host of the node in NO_PROXY"
        }
        None if reason.contains("lookup address") => "check the name of the host in the url",
        None => "check the url and that the node runs",
    };
    known.into()
}

/// Part of the reason of a failed connection where an environment variable names a proxy.
pub(crate) const BY_PROXY: &str = " by the proxy that ";
/// The end of such a reason where NO_PROXY is set. Only the HTTP client knows which hosts the variable exempts.
pub(crate) const UNLESS_EXEMPT: &str = ", unless NO_PROXY has the host";

/// The remedy for a refusal: another key, another path, fewer requests.
pub(super) fn refusal_remedy(refusal: RefusalKind, code: Option<i64>) -> &'static str {
    match (refusal, code) {
        (_, Some(300..=399)) => "; redirects are not followed: configure the url that it leads to",
        (_, Some(401 | 403)) => "; check the key in the url or in `headers` of this provider",
        (RefusalKind::Rate { .. }, _) => {
            "; set `requests_per_second` to what the plan allows, or add a [[chain.provider]]"
        }
        (RefusalKind::Quota, _) => {
            "; the plan of this provider is used up: extend it, or add a [[chain.provider]]"
        }
        (RefusalKind::Pruned, _) => {
            "; the node has pruned these blocks: add an archive node, a [[chain.provider]] with role = \"history\""
        }
        (RefusalKind::WrongChain, _) => "; the key in the url is of another chain",
        (RefusalKind::Unknown | RefusalKind::MethodOff, Some(404 | 405)) => {
            "; nothing answers JSON-RPC there: check the path of the url"
        }
        _ => "",
    }
}
