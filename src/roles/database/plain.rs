//! Whether the password and the rows of the database may cross a network in plain text.

use url::Url;

use super::Loaded;
use chainflume_db::each_host;

/// What an operator should know of the connection to the database; `None` where it is encrypted, stays on this machine, or the URL
/// says that it may be plain (`sslmode=disable`).
pub(crate) fn plain_text(loaded: &Loaded) -> Option<String> {
    let url = loaded.config.database.url.as_ref()?;
    let host = each_host(url.expose()).iter().find_map(|url| exposed(url))?;
    Some(format!(
        "the connection to the database at {host} is encrypted only if the server offers it, and no certificate is checked: write \
         ?sslmode=verify-full, or ?sslmode=disable within your own network"
    ))
}

/// The host of a URL by which a connection over a network may be plain.
fn exposed(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let value =
        |wanted: &str| url.query_pairs().find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned());
    let mode = value("sslmode").or_else(|| value("ssl-mode"));
    if mode.is_some_and(|mode| !matches!(mode.as_str(), "allow" | "prefer")) {
        return None;
    }
    let host = value("host").or_else(|| url.host_str().map(str::to_owned)).filter(|host| !host.is_empty())?;
    let bare = host.trim_matches(['[', ']']);
    let is_here = bare == "localhost"
        || bare.starts_with(['/', '@'])
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    (!is_here).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::exposed;

    #[test]
    fn a_plain_connection_over_a_network_is_noticed() {
        for (url, host) in [
            ("postgres://u:p@db.example/flume", Some("db.example")),
            ("postgres://u:p@10.0.0.7:5432/flume?sslmode=prefer", Some("10.0.0.7")),
            ("postgres://u:p@[2001:db8::1]/flume?sslmode=allow", Some("[2001:db8::1]")),
            ("postgres:///flume?host=db.example", Some("db.example")),
            ("postgres://u:p@db.example/flume?sslmode=verify-full", None),
            ("postgres://u:p@db.example/flume?sslmode=require", None),
            ("postgres://u:p@db.example/flume?sslmode=disable", None),
            ("postgres://u:p@127.0.0.1/flume", None),
            ("postgres://u:p@[::1]:5433/flume", None),
            ("postgres://u:p@localhost/flume", None),
            ("postgres:///flume?host=/run/postgresql", None),
            ("postgres:///flume", None),
        ] {
            assert_eq!(exposed(url).as_deref(), host, "{url}");
        }
    }
}
