use std::path::PathBuf;

use ::url::Url;

use super::problem::Fault;
use super::reader::Text;
use super::section::Section;
use super::url::{Scheme, url};
use chainflume_deliver::sink::{RedisServers, RedisSettings};

/// `[redis]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redis {
    /// Which servers; `None` leaves messages in-process.
    pub servers: Option<RedisServers>,
    /// Certificate authority of the servers, PEM; `None` asks those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this client, PEM, for servers that ask for them.
    pub client_files: Option<(PathBuf, PathBuf)>,
    /// The streams, without servers and authority.
    pub streams: RedisSettings,
}

pub(super) fn redis(section: &Section<'_>) -> Redis {
    let read = Redis {
        servers: servers(section),
        ca_file: section.path_value("ca_file"),
        client_files: section.certificate_files(["certificate_file", "key_file"], "Redis"),
        streams: section.fill(),
    };
    if read.servers.as_ref().is_some_and(|servers| !any_by_tls(servers)) {
        let given = [("ca_file", read.ca_file.is_some()), ("certificate_file", read.client_files.is_some())];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            let remedy = "begin the addresses with rediss://";
            section.report(key, Fault::new("is of no use: nothing is reached by TLS", remedy));
        }
    }
    section.finish();
    read
}

/// One of three ways, and which is meant must not be a guess.
fn servers(section: &Section<'_>) -> Option<RedisServers> {
    let (single, master_text) = (section.text("url"), section.text("master"));
    let (sentinels, cluster) = (urls(section, "sentinels", of_redis), urls(section, "cluster", node));
    let given =
        [("url", single.is_some()), ("sentinels", sentinels.is_some()), ("cluster", cluster.is_some())];
    let mut given = given.into_iter().filter_map(|(key, given)| given.then_some(key));
    if let Some(first) = given.next() {
        for other in given {
            let what = format!("is beside redis.{first}");
            let remedy = "keep one: url for a server, sentinels and master, or cluster";
            section.report(other, Fault::new(what, remedy));
        }
    }
    if sentinels.is_none() && master_text.is_some() {
        let remedy = "name the sentinels to ask, or remove it";
        section.report("master", Fault::new("is of no use without redis.sentinels", remedy));
    }
    // A name whose variable is not set is missing for that reason.
    if sentinels.is_some() && master_text.is_none() && section.reader.is_clean() {
        let remedy = "write the name the sentinels know the master by, \"mymaster\" for instance";
        section.report("master", Fault::new("is missing", remedy));
    }
    let single = single.and_then(|text| text.parse(section.reader, of_redis));
    let master = master_text.and_then(|text| text.parse(section.reader, master));
    match (single, sentinels, cluster) {
        (Some(url), ..) => Some(RedisServers::Single(url.value)),
        (_, Some(sentinels), _) => Some(RedisServers::Sentinel { sentinels, master: master?.value }),
        (.., cluster) => cluster.map(RedisServers::Cluster),
    }
}

/// The URLs of a list, `None` where it is empty or absent.
fn urls(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<String, Fault>,
) -> Option<Vec<String>> {
    let texts = section.texts(key).filter(|texts| !texts.is_empty())?;
    let read = |text: Text| text.parse(section.reader, &parse).map(|url| url.value);
    Some(texts.into_iter().filter_map(read).collect())
}

fn of_redis(text: &str) -> Result<String, Fault> {
    url(text, Scheme::Redis).map(|url| url.expose().to_owned())
}

/// A URL without a database.
fn node(text: &str) -> Result<String, Fault> {
    let node = of_redis(text)?;
    let names_one = |url: Url| !matches!(url.path().trim_matches('/'), "" | "0");
    if Url::parse(&node).is_ok_and(names_one) {
        return Err(Fault::new("names a database, and a Cluster has none", "end it behind the port"));
    }
    Ok(node)
}

/// `mymaster`, or `redis://user:password@mymaster/0`.
fn master(text: &str) -> Result<String, Fault> {
    if text.contains("://") {
        return of_redis(text);
    }
    // What Sentinel itself takes for a name.
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        return of_redis(&format!("redis://{text}"));
    }
    Err(Fault::new(
        "is not the name of a master",
        "write \"mymaster\", or \"redis://user:password@mymaster\" where it asks for a password",
    ))
}

fn any_by_tls(servers: &RedisServers) -> bool {
    let tls = |url: &String| url.starts_with("rediss://");
    match servers {
        RedisServers::Single(url) => tls(url),
        RedisServers::Sentinel { sentinels, master } => tls(master) || sentinels.iter().any(tls),
        RedisServers::Cluster(nodes) => nodes.iter().any(tls),
    }
}
