use url::Url;

use super::problem::Fault;
use super::substitute::is_escaped;
use chainflume_core::settings::Secret;
use chainflume_db::each_host;

/// What kind of server a URL leads to.
#[derive(Clone, Copy)]
pub(super) enum Scheme {
    Http,
    WebSocket,
    Postgres,
    Redis,
}

impl Scheme {
    fn accepted(self) -> [&'static str; 2] {
        match self {
            Self::Http => ["http", "https"],
            Self::WebSocket => ["ws", "wss"],
            Self::Postgres => ["postgres", "postgresql"],
            Self::Redis => ["redis", "rediss"],
        }
    }
}

/// Reads a URL. Neither the error nor its remedy contains any of it.
pub(super) fn url(text: &str, scheme: Scheme) -> Result<Secret, Fault> {
    let [plain, other] = scheme.accepted();
    let trimmed = text.trim();
    if trimmed.starts_with(['"', '\'', '`']) {
        let remedy = "remove the quotes around the value; `docker --env-file` passes them on";
        return Err(Fault::new("begins with a quote", remedy));
    }
    check_user_part(trimmed)?;
    let not_a_url = |_| {
        Fault::new(
            "is not a url",
            format!("write one that begins with {plain}:// or {other}:// and names a host"),
        )
    };
    // A database may be on several servers.
    let each = if matches!(scheme, Scheme::Postgres) { each_host(trimmed) } else { vec![trimmed.to_owned()] };
    let parsed = each.iter().map(|one| Url::parse(one)).collect::<Result<Vec<_>, _>>().map_err(not_a_url)?;
    let parsed = &parsed[0];
    if ![plain, other].contains(&parsed.scheme()) {
        return Err(Fault::new(
            format!("has the scheme of another protocol, {plain} or {other} is wanted"),
            format!("write an address that begins with {plain}:// or {other}://"),
        ));
    }
    // `postgres:///name?host=/run/postgresql` is how a Unix socket is written.
    if parsed.host_str().is_none_or(str::is_empty) && !matches!(scheme, Scheme::Postgres) {
        return Err(Fault::new("names no host", format!("write {other}://host/…")));
    }
    Ok(Secret::new(trimmed))
}

/// Refuses a URL whose password is not percent-encoded: a piece of it would be taken for the host, and be shown and resolved
/// as one. So the only plain `@` of a URL ends its user part.
fn check_user_part(text: &str) -> Result<(), Fault> {
    let Some((_, rest)) = text.split_once("://") else { return Ok(()) };
    let (authority, _) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let user = authority.split_once('@').map(|(user, _)| user);
    let ats = rest.matches('@').count();
    if ats > usize::from(user.is_some()) || user.is_some_and(|user| !is_escaped(user)) {
        let remedy = "write each of @ / ? # % \\ and blanks in it as % and two digits: \
                      @ as %40, / as %2F, ? as %3F, # as %23, % as %25; and an @ elsewhere in the URL as %40";
        return Err(Fault::new("has a user or password that is not percent-encoded", remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str, scheme: Scheme) -> Result<(), String> {
        url(text, scheme).map(|_| ()).map_err(|fault| fault.what)
    }

    #[test]
    fn no_piece_of_a_password_is_taken_for_a_host() {
        for scheme in ["postgres", "http", "redis", "ws"] {
            let kind = match scheme {
                "postgres" => Scheme::Postgres,
                "http" => Scheme::Http,
                "redis" => Scheme::Redis,
                _ => Scheme::WebSocket,
            };
            for password in
                ["a@b", "a/b", "1/b", "a#b", "a?b", "a%b", "%", "a%4", "a\\b", "@", "/", "a/@b", "1?b@c"]
            {
                let fault =
                    url(&format!("{scheme}://flume:{password}@db.example:1/x"), kind).expect_err("refused");
                assert_eq!(fault.what, "has a user or password that is not percent-encoded", "{password}");
            }
            for password in ["a%40b", "a%2Fb", "a%25b", "a:b", "a!$&'()*+,;=b", ""] {
                assert_eq!(
                    what(&format!("{scheme}://flume:{password}@db.example:1"), kind),
                    Ok(()),
                    "{password}"
                );
            }
        }
        assert_eq!(what("https://node.example/v2/%40key?a=b", Scheme::Http), Ok(()));
        assert_eq!(what("\"https://node.example\"", Scheme::Http), Err("begins with a quote".to_owned()));
    }

    #[test]
    fn each_key_takes_its_own_schemes_alone() {
        assert_eq!(what("https://node.example/v2/key", Scheme::Http), Ok(()));
        assert_eq!(what("wss://node.example", Scheme::WebSocket), Ok(()));
        assert_eq!(what("postgresql://user:p%40ss@db:5432/flume", Scheme::Postgres), Ok(()));
        assert_eq!(what("postgres:///flume?host=/run/postgresql", Scheme::Postgres), Ok(()));
        assert_eq!(what("postgres://u:p@/flume?host=/run/postgresql", Scheme::Postgres), Ok(()));
        assert_eq!(what("postgres://u:p@/flume", Scheme::Postgres), Err("is not a url".to_owned()));
        assert_eq!(what("postgres://u:p@db1:5432,db2:5432/flume", Scheme::Postgres), Ok(()));
        let other = "has the scheme of another protocol, ws or wss is wanted".to_owned();
        assert_eq!(what("https://node.example", Scheme::WebSocket), Err(other));
        assert!(what("node.example:8545", Scheme::Http).is_err());
        assert_eq!(what("https://", Scheme::Http), Err("is not a url".to_owned()));
    }
}
