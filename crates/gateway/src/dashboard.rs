//! Pages for operators, in the binary. They are static files; they fetch their data from the server with the operator's credential.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, header};
use axum::routing::get;

/// Nothing from elsewhere, no script in the page, no frame around it: a token's name that reaches a page is text whatever is in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page: what is its own between the head and navigation of all.
struct DashboardPage {
    path: &'static str,
    title: &'static str,
    script: &'static str,
    content: &'static str,
}

const PAGES: [DashboardPage; 2] = [
    DashboardPage {
        path: "/",
        title: "Overview",
        script: "overview.js",
        content: include_str!("dashboard/overview.html"),
    },
    DashboardPage {
        path: "/live",
        title: "Live",
        script: "live.js",
        content: include_str!("dashboard/live.html"),
    },
];

/// Head, navigation, and the form for a credential.
const FRAME: &str = include_str!("dashboard/frame.html");

/// A file that pages load, its path and its media type.
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 5] = [
    Asset { path: "/assets/overview.js", kind: SCRIPT, text: include_str!("dashboard/overview.js") },
    Asset { path: "/assets/live.js", kind: SCRIPT, text: include_str!("dashboard/live.js") },
    Asset { path: "/assets/stream.js", kind: SCRIPT, text: include_str!("dashboard/stream.js") },
    Asset {
        path: "/assets/dashboard.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("dashboard/dashboard.css"),
    },
    Asset { path: "/assets/icon.svg", kind: "image/svg+xml", text: include_str!("dashboard/icon.svg") },
];

impl DashboardPage {
    /// The whole page, HTML.
    fn html(&self) -> String {
        let link = |page: &Self| {
            let current = if page.path == self.path { " aria-current=\"page\"" } else { "" };
            format!("<a href=\"{}\"{current}>{}</a>", page.path, page.title)
        };
        let links: Vec<String> = PAGES.iter().map(link).collect();
        let fill = |text: String, (name, value): (&str, &str)| text.replace(name, value);
        let places = [("{title}", self.title), ("{script}", self.script), ("{pages}", &links.join(" "))];
        let framed = places.into_iter().fold(FRAME.to_owned(), fill);
        // Last, so that nothing in the content is taken for a place.
        framed.replace("{content}", self.content)
    }
}

/// Routes of the pages and of the files that they load. These contain no data, so they need no credential.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let pages = PAGES.iter().map(|page| (page.path, "text/html; charset=utf-8", Bytes::from(page.html())));
    let assets =
        ASSETS.iter().map(|asset| (asset.path, asset.kind, Bytes::from_static(asset.text.as_bytes())));
    pages.chain(assets).fold(Router::new(), |router, (path, kind, text)| {
        let headers: [(HeaderName, &str); 4] = [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ];
        router.route(path, get(async move || (headers, text.clone())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_title_script_and_place_in_the_navigation() {
        for page in &PAGES {
            let html = page.html();
            assert!(html.contains(&format!("<title>{} · Chainflume</title>", page.title)), "{html}");
            let script = format!("/assets/{}", page.script);
            assert!(html.contains(&format!("src=\"{script}\"")), "{html}");
            assert!(ASSETS.iter().any(|asset| asset.path == script), "{script}");
            let current = format!("<a href=\"{}\" aria-current=\"page\">{}</a>", page.path, page.title);
            assert_eq!(html.matches(&current).count(), 1, "{html}");
            assert_eq!(html.matches("aria-current").count(), 1, "{html}");
            assert_eq!(html.matches("<a href=\"/").count(), PAGES.len(), "{html}");
        }
    }
}
