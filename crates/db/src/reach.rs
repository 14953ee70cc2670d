//! Finds the server that accepts writes among the servers of a URL, and detects a pooler that gives each transaction another session.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor, Row};

use crate::StoreError;

/// The servers of a URL.
pub(crate) struct Hosts {
    all: Vec<PgConnectOptions>,
    /// Index of the server that last accepted writes.
    current: AtomicUsize,
    began: Instant,
    /// Milliseconds since `began`. Connections that were begun earlier may lead to a server that is no longer the primary.
    distrusted: AtomicU64,
    /// Maximum time to connect.
    connecting: Duration,
}

/// Maximum time for each of several servers to answer whether it accepts writes. Shorter than the timeout of a database probe, so that
/// a server that hangs does not hide the one that works.
const HOST_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Prepared statements per connection: more than this program has.
const STATEMENT_CACHE: usize = 200;

impl Hosts {
    pub fn of(url: &str, connecting: Duration) -> Result<Self, StoreError> {
        let options = |url: &String| {
            let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::url(&error))?;
            let options = without_brackets(options);
            // Overrides the URL: with a cache of 0, statements have no names, and behind a pooler clients overwrite them.
            Ok(options
                .application_name("chainflume")
                .statement_cache_capacity(STATEMENT_CACHE)
                .disable_statement_logging())
        };
        Ok(Self {
            all: each_host(url).iter().map(options).collect::<Result<_, StoreError>>()?,
            current: AtomicUsize::new(0),
            began: Instant::now(),
            distrusted: AtomicU64::new(0),
            connecting,
        })
    }

    /// Options for the server that last accepted writes.
    pub fn options(&self) -> PgConnectOptions {
        self.all[self.current.load(Ordering::Relaxed)].clone()
    }

    /// All of them, as far as they may be shown: the first, and where there are several, the others.
    pub fn shown(&self) -> String {
        let first = self.current.load(Ordering::Relaxed);
        let others: Vec<String> =
            self.all.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, one)| host(one)).collect();
        match others.is_empty() {
            true => host(&self.options()),
            false => format!("{} (nor at {})", host(&self.options()), others.join(", ")),
        }
    }

    /// Forbids the use of all connections that exist or are being made. A connection that was begun before a failover and is ready
    /// after it leads to the old primary, and each statement on it would fail.
    pub fn distrust(&self) {
        let connecting = u64::try_from(self.connecting.as_millis()).unwrap_or(u64::MAX);
        self.distrusted.store(self.now().saturating_add(connecting), Ordering::Relaxed);
    }

    /// Whether a connection of this age was begun after the last [`Self::distrust`].
    pub fn trusts(&self, age: Duration) -> bool {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.now().saturating_sub(age) >= self.distrusted.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// An IPv6 address as the resolver and a certificate name it. A URL writes it in brackets (RFC 3986, section 3.2.2), and the
/// driver keeps them.
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let address = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match address.map(str::to_owned) {
        Some(address) => options.host(&address),
        None => options,
    }
}

impl Hosts {
    /// A connection to the server that accepts writes, and whether it is another server than before.
    pub async fn reach(&self) -> Result<(PgConnection, bool), StoreError> {
        if let [only] = &self.all[..] {
            return Ok((only.connect().await?, false));
        }
        let first = self.current.load(Ordering::Relaxed);
        let order: Vec<usize> = (0..self.all.len()).map(|step| (first + step) % self.all.len()).collect();
        let mut failure = None;
        let connected = join_all(order.iter().map(|at| writable(&self.all[*at]))).await;
        for (at, connected) in order.iter().zip(connected) {
            match connected {
                Ok(connection) => {
                    self.current.store(*at, Ordering::Relaxed);
                    return Ok((connection, *at != first));
                }
                // The error of the server that should take writes comes first.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| StoreError::from(sqlx::Error::PoolTimedOut)))
    }
}

async fn writable(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let asked = async {
        let mut connection = options.connect().await?;
        let row = connection.fetch_one("select current_setting('transaction_read_only') = 'on'").await?;
        match row.try_get(0)? {
            true => Err(StoreError::ReadOnly { host: host(options) }),
            false => Ok(connection),
        }
    };
    tokio::time::timeout(HOST_TIMEOUT, asked)
        .await
        .unwrap_or(Err(StoreError::from(sqlx::Error::PoolTimedOut)))
}

/// Whether a session belongs to this client alone. A pooler in transaction mode gives each transaction another session. If it does not
/// prepare a client's statements there, it would run the statement of one client with the arguments of another.
///
/// # Errors
/// [`StoreError::Pooler`] behind such a pooler.
pub(crate) async fn is_direct(hosts: &Hosts, one: &mut PgConnection) -> Result<bool, StoreError> {
    let first = backend(one).await?;
    let mut two = hosts.options().connect().await?;
    // By the simple protocol, which prepares nothing.
    two.execute(sqlx::raw_sql("begin")).await?;
    let row = two.fetch_one(sqlx::raw_sql("select pg_backend_pid()")).await?;
    let shared = row.try_get::<i32, _>(0)? == first;
    let again = tokio::time::timeout(HOST_TIMEOUT, backend(one)).await;
    let _told = two.close().await;
    match again {
        Ok(Ok(again)) => Ok(!shared && again == first),
        Ok(Err(error)) if !shared && error.is_transient() => Err(error),
        _ => Err(StoreError::Pooler),
    }
}

/// The process id of the session, read by a prepared statement.
async fn backend(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let sql = "select pg_backend_pid() where $1::int = 1";
    Ok(sqlx::query_scalar(sql).bind(1).fetch_one(connection).await?)
}

/// Host or socket folder: the only part of the URL that may be shown.
pub(crate) fn host(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') => {
            format!("[{}]:{}", options.get_host(), options.get_port())
        }
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Splits a URL that names several servers in the form of libpq into a URL for each server: `h1:5432,h2:5432` in front of the database,
/// or `host=/a,/b&port=5432,5433` behind it.
pub fn each_host(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (place, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = place.rsplit_once('@').map_or(("", place), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    // In libpq, `user@/db?host=…` has its host behind. The driver needs a host before the path; `?host=` then replaces it.
    let named = path.split(['?', '&']).any(|pair| pair.starts_with("host="));
    let hosts = if hosts.is_empty() && !user.is_empty() && named { "localhost" } else { hosts };
    let by_place: Vec<String> =
        hosts.split(',').map(|host| format!("{scheme}://{user}{at}{host}{path}")).collect();
    by_place.iter().flat_map(|url| by_query(url)).collect()
}

fn by_query(url: &str) -> Vec<String> {
    let Some((path, query)) = url.split_once('?') else { return vec![url.to_owned()] };
    let pairs: Vec<(&str, &str)> =
        query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let several = pairs.iter().find(|(key, _)| *key == "host");
    let count = several.map_or(1, |(_, hosts)| hosts.split(',').count());
    let nth = |n: usize| {
        let pair = |(key, value): &(&str, &str)| {
            let value = match *key {
                "host" | "port" => value.split(',').nth(n).or(value.split(',').next_back()).unwrap_or(value),
                _ => value,
            };
            format!("{key}={value}")
        };
        format!("{path}?{}", pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
    };
    (0..count).map(nth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_begun_before_a_failover_is_not_trusted() {
        let trusts_a_new_one = |connecting: Duration| {
            let hosts = Hosts::of("postgres://one,other/db", connecting).expect("a url");
            assert!(hosts.trusts(Duration::ZERO), "nothing has failed over yet");
            hosts.distrust();
            hosts.trusts(Duration::ZERO)
        };
        assert!(!trusts_a_new_one(Duration::from_secs(3_600)), "it may have been begun before");
        assert!(trusts_a_new_one(Duration::ZERO), "it was begun after");
    }

    #[test]
    fn an_ipv6_address_connects_without_brackets_and_shows_them() {
        for (url, wanted) in [
            ("postgres://u:p@[::1]:5432/db", vec!["[::1]:5432"]),
            ("postgres://u:p@[::1]/db?sslmode=verify-full", vec!["[::1]:5432"]),
            ("postgres://u@[fd00::7]:1,db2:2,[::1]:3/db", vec!["[fd00::7]:1", "db2:2", "[::1]:3"]),
            ("postgres:///db?host=::1&user=u", vec!["[::1]:5432"]),
            ("postgres:///db?host=[::1],[fd00::7]&port=1,2", vec!["[::1]:1", "[fd00::7]:2"]),
            ("postgres://u:p@/db?sslmode=require&host=::1", vec!["[::1]:5432"]),
            ("postgres://u@/db?host=/run/postgresql", vec!["/run/postgresql"]),
        ] {
            let hosts = Hosts::of(url, Duration::ZERO).expect("a url");
            assert_eq!(hosts.all.iter().map(host).collect::<Vec<_>>(), wanted, "{url}");
            assert!(hosts.all.iter().all(|options| !options.get_host().contains('[')), "{url}");
        }
    }

    #[test]
    fn every_server_of_a_url_is_shown() {
        let shown = |url| Hosts::of(url, Duration::ZERO).expect("a url").shown();
        assert_eq!(shown("postgres://u:p@one:1/db"), "one:1");
        assert_eq!(shown("postgres://u:p@one:1,[::1]:2,three/db"), "one:1 (nor at [::1]:2, three:5432)");
    }

    #[test]
    fn a_url_may_name_several_servers() {
        assert_eq!(each_host("postgres://u:p@h:5432/db"), ["postgres://u:p@h:5432/db"]);
        assert_eq!(
            each_host("postgres://u:p@h1:5432,h2:5433/db?sslmode=require"),
            ["postgres://u:p@h1:5432/db?sslmode=require", "postgres://u:p@h2:5433/db?sslmode=require"]
        );
        assert_eq!(
            each_host("postgres:///db?host=/a,/b&port=1,2&user=me"),
            ["postgres:///db?host=/a&port=1&user=me", "postgres:///db?host=/b&port=2&user=me"]
        );
        assert_eq!(
            each_host("postgres:///db?host=/a,/b&port=1"),
            ["postgres:///db?host=/a&port=1", "postgres:///db?host=/b&port=1"]
        );
        assert_eq!(each_host("nonsense"), ["nonsense"]);
    }
}
