use url::{ParseError, Url};

use super::problem::Fault;
use super::substitute::is_escaped;
use super::suggest::nearest;
use chainflume_core::settings::Secret;
use chainflume_db::{SSL_MODES, URL_PARAMETERS, each_host, url_parameter};

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
    let not_a_url = |error| {
        let remedy = if matches!(error, ParseError::InvalidIpv6Address) || trimmed.contains("::") {
            "write an IPv6 address in brackets and without a zone, as in [2001:db8::1]:5432".to_owned()
        } else {
            format!("write one that begins with {plain}:// or {other}:// and names a host")
        };
        Fault::new("is not a url", remedy)
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
    if matches!(scheme, Scheme::Postgres) {
        check_parameters(parsed)?;
    }
    Ok(Secret::new(trimmed))
}

/// Refuses parameters of a database that the driver would ignore: a misspelt `sslmode` would leave the connection in plain text. Of two
/// with one name the driver takes the last.
fn check_parameters(url: &Url) -> Result<(), Fault> {
    if url.fragment().is_some() {
        let remedy = "write a # in a value as %23: what follows a plain one is ignored";
        return Err(Fault::new("has a #", remedy));
    }
    let mut seen = Vec::new();
    for (name, value) in url.query_pairs() {
        let Some(known) = url_parameter(&name) else {
            // A password with a plain & would be shown in part.
            return Err(unknown_parameter(&name, seen.iter().any(|seen| seen == "password")));
        };
        if known == "sslmode" && !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) {
            let remedy = format!("write one of {}", SSL_MODES.join(", "));
            return Err(Fault::new("has an sslmode that is not known", remedy));
        }
        if known != "options" && seen.iter().any(|seen| seen == known) {
            return Err(Fault::new(format!("has the parameter {known} twice"), "remove one of them"));
        }
        seen.push(known.to_owned());
    }
    Ok(())
}

fn unknown_parameter(name: &str, is_secret: bool) -> Fault {
    let known = format!("known are {}", URL_PARAMETERS.join(", "));
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if is_secret || !is_plain || !(1..=40).contains(&name.len()) {
        let remedy = format!("write an & in a value as %26; {known}");
        return Fault::new("has a parameter that is not known", remedy);
    }
    let begins_so = |known: &&str| name.len() > 2 && known.starts_with(&name.to_ascii_lowercase());
    let remedy = match nearest(name, URL_PARAMETERS).or_else(|| URL_PARAMETERS.into_iter().find(begins_so)) {
        Some(nearest) => format!("write {nearest}, or remove it; {known}"),
        None => format!("remove it, chainflume would ignore it; {known}"),
    };
    Fault::new(format!("has the parameter {name}, which is not known"), remedy)
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
    fn a_parameter_that_would_be_ignored_is_refused_by_name() {
        let fault = |url_text: &str| {
            let fault = url(url_text, Scheme::Postgres).expect_err(url_text);
            (fault.what, fault.remedy)
        };
        for (name, meant) in [
            ("sslmod", "write sslmode,"),
            ("SSLMODE", "write sslmode,"),
            ("ssl_mode", "write sslmode,"),
            ("sslroot", "write sslrootcert,"),
            ("sslrootcrt", "write sslrootcert,"),
            ("pasword", "write password,"),
            ("channel_binding", "remove it,"),
        ] {
            for text in [
                format!("postgres://ada:hunter2@db:1,db:2/flume?{name}=require"),
                format!("postgres:///flume?host=/run&user=ada&{name}=hunter2&hunter3"),
            ] {
                let (what, remedy) = fault(&text);
                assert_eq!(what, format!("has the parameter {name}, which is not known"));
                assert!(remedy.starts_with(meant) && remedy.contains("; known are sslmode, "), "{remedy}");
                assert!(!format!("{what}{remedy}").contains("hunter") && !remedy.contains("ada"), "{remedy}");
            }
        }
        for hidden in
            ["password=a&hunter2", "password=a&hunter2=b", "amp;sslmode=require", "hunter2%20=a", "=a"]
        {
            let (what, remedy) = fault(&format!("postgres://ada@db/flume?{hidden}"));
            assert_eq!(what, "has a parameter that is not known");
            assert!(remedy.starts_with("write an & in a value as %26; "), "{remedy}");
        }
        for mode in ["requird", "", "require;password=hunter2", "require?sslrootcert=/x"] {
            let (what, _) = fault(&format!("postgres://ada@db/flume?sslmode={mode}"));
            assert_eq!(what, "has an sslmode that is not known");
        }
        let (what, _) = fault("postgres://ada@db/flume?sslmode=verify-full&ssl-mode=disable");
        assert_eq!(what, "has the parameter sslmode twice");
        assert_eq!(fault("postgres://ada@db/flume?password=a#b&sslmode=require").0, "has a #");
    }

    #[test]
    fn every_parameter_that_the_driver_takes_is_accepted() {
        let query = URL_PARAMETERS.map(|name| match name {
            "sslmode" => "sslmode=Verify-Full".to_owned(),
            "hostaddr" => "hostaddr=127.0.0.1".to_owned(),
            "port" => "port=1".to_owned(),
            name => format!("{name}=a%26b"),
        });
        assert_eq!(what(&format!("postgres:///flume?{}", query.join("&")), Scheme::Postgres), Ok(()));
        let others = "ssl-mode=require&ssl-ca=/a&ssl-cert=/b&ssl-key=/c&statement-cache-capacity=1";
        let options = "options=-c%20a=b&options[search_path]=x&options[work_mem]=1";
        assert_eq!(what(&format!("postgres://u@db/flume?{others}&{options}"), Scheme::Postgres), Ok(()));
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_refused_with_its_form() {
        for (text, scheme) in [
            ("postgres://u@::1:5432/flume", Scheme::Postgres),
            ("postgres://u@[::1:5432/flume", Scheme::Postgres),
            ("postgres://u@db:5432,::1:5432/flume", Scheme::Postgres),
            ("postgres://u@[fe80::1%25eth0]:5432/flume", Scheme::Postgres),
            ("http://::1:8545", Scheme::Http),
            ("http://2001:db8::1", Scheme::Http),
            ("ws://[1:2]:8546", Scheme::WebSocket),
        ] {
            let fault = url(text, scheme).expect_err(text);
            assert_eq!(fault.what, "is not a url", "{text}");
            assert!(fault.remedy.contains("in brackets"), "{text}: {}", fault.remedy);
        }
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
