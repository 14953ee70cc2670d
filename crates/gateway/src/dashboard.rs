//! Pages for operators, in the binary. They are files alone: what they show they ask of the server, with the operator's credential.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::routing::get;

/// Nothing from elsewhere, no script in the page, no frame around it: a token's name that reaches a page is text whatever is in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file, its path and its media type.
struct PageFile {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const PAGES: [PageFile; 7] = [
    PageFile { path: "/", kind: HTML, text: include_str!("dashboard/overview.html") },
    PageFile { path: "/live", kind: HTML, text: include_str!("dashboard/live.html") },
    PageFile { path: "/assets/overview.js", kind: SCRIPT, text: include_str!("dashboard/overview.js") },
    PageFile { path: "/assets/live.js", kind: SCRIPT, text: include_str!("dashboard/live.js") },
    PageFile { path: "/assets/stream.js", kind: SCRIPT, text: include_str!("dashboard/stream.js") },
    PageFile {
        path: "/assets/dashboard.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("dashboard/dashboard.css"),
    },
    PageFile { path: "/assets/icon.svg", kind: "image/svg+xml", text: include_str!("dashboard/icon.svg") },
];

/// The pages and what they load. They hold no data, so anybody may read them.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    PAGES.iter().fold(Router::new(), |router, page| {
        let headers: [(HeaderName, &str); 4] = [
            (header::CONTENT_TYPE, page.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ];
        router.route(page.path, get(async move || (headers, page.text)))
    })
}
