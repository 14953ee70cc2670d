//! Interprets the answers of Redis.

use std::borrow::Cow;

use ::redis::{ErrorKind, RedisError, Value};

use crate::sink::SinkError;
use chainflume_ops::text::one_line;
use chainflume_ops::tls::{AUTHORITY_AS_SERVER, INVALID_CERTIFICATE, TlsFault, wrong_variable};

/// The name of a sentinel in errors.
pub(super) const SENTINEL: &str = "redis sentinel";

/// Answers to the first commands, in order, and the error in place of the next answer.
pub(super) type Answers = (Vec<Value>, Option<SinkError>);

/// A line of a log has so many characters of others at most.
const REASON_CHARS: usize = 400;

const RIGHTS: &str = "give the user the rights that config/default.toml lists under [redis]";

/// An unknown error counts as one that needs an operator. It is retried all the same.
pub(super) fn explain(sink: &'static str, host: &str, error: &RedisError) -> SinkError {
    let refused = |remedy| SinkError::Refused { sink, host: host.to_owned(), answer: answer(error), remedy };
    let Some(code) = error.code() else {
        return match error.kind() {
            ErrorKind::AuthenticationFailed => refused(credentials_remedy(sink)),
            ErrorKind::InvalidClientConfig => refused("correct the URLs of [redis]"),
            _ => unreached(sink, host, &error.to_string()),
        };
    };
    match code {
        "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "OOM" | "MISCONF"
        | "NOREPLICAS" => SinkError::Unready { sink, host: host.to_owned(), answer: answer(error) },
        "MOVED" | "ASK" | "CROSSSLOT" => {
            refused("this is a node of a Redis Cluster; name some of its nodes in redis.cluster")
        }
        "NOAUTH" | "WRONGPASS" => refused(credentials_remedy(sink)),
        "NOPERM" if sink == SENTINEL => refused("let the user run sentinel|get-master-addr-by-name"),
        "NOPERM" => refused(RIGHTS),
        // This refusal of a script has no error code of its own.
        "ERR" if error.detail().is_some_and(|detail| detail.contains("user executing the script")) => {
            refused(RIGHTS)
        }
        // A long command of a client that has not logged in is refused before it is read, without NOAUTH.
        "ERR" if error.detail().is_some_and(|detail| detail.contains("unauthenticated")) => {
            refused(credentials_remedy(sink))
        }
        "WRONGTYPE" => refused(
            "a key with the name of a stream (events:…) is no stream: another application uses it; set another redis.prefix",
        ),
        _ => refused("see the server's log"),
    }
}

fn unreached(sink: &'static str, host: &str, reason: &str) -> SinkError {
    let (host, fault) = (host.to_owned(), TlsFault::of(reason));
    let reason = one_line(reason, REASON_CHARS);
    match fault {
        Some(fault) => SinkError::Untrusted { sink, host, reason, remedy: of_tls(fault) },
        None => SinkError::Unreachable { sink, host, reason },
    }
}

fn of_tls(fault: TlsFault) -> Cow<'static, str> {
    // An unreadable file ends the connection also where redis.ca_file is used in its place.
    if fault == TlsFault::NoAuthorities
        && let Some(wrong) = wrong_variable()
    {
        return wrong.into();
    }
    let known = match fault {
        TlsFault::NoAuthorities | TlsFault::UnknownAuthority => {
            "name the file of the authority that signed its certificate in redis.ca_file"
        }
        // Sentinels and nodes of a Cluster announce addresses, where nothing else is configured.
        TlsFault::OtherName => {
            "write a name of its certificate into the url; let sentinels announce names (sentinel resolve-hostnames yes, sentinel \
             announce-hostnames yes), and nodes of a Cluster too (cluster-announce-hostname, cluster-preferred-endpoint-type \
             hostname)"
        }
        TlsFault::AuthorityAsServer => AUTHORITY_AS_SERVER,
        TlsFault::Certificate => INVALID_CERTIFICATE,
        TlsFault::NoTls => "the port does not speak TLS: begin the url with redis://, or name another port",
        TlsFault::ClientCertificate => {
            "it wants a certificate of the client: name one and its key in redis.certificate_file and redis.key_file, or set \
             tls-auth-clients no"
        }
        TlsFault::ClientRefused => {
            "it does not accept the certificate of the client: correct or renew redis.certificate_file, or correct tls-ca-cert-file of \
             the server"
        }
    };
    known.into()
}

fn credentials_remedy(sink: &str) -> &'static str {
    if sink == SENTINEL {
        "check user and password in redis.sentinels"
    } else {
        "check user and password in redis.url, redis.master or redis.cluster"
    }
}

/// What the server answered, which may quote what anything wrote into it.
fn answer(error: &RedisError) -> String {
    let answer = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    one_line(&answer, REASON_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_quoted_in_one_bounded_line() {
        let detail = format!("no\u{1b}[2J such\r\nkey {}", "x".repeat(100_000));
        let error = RedisError::from((ErrorKind::Io, "broken pipe", detail));
        for error in [explain("redis", "host", &error), unreached("redis", "host", &error.to_string())] {
            let text = error.to_string();
            assert!(text.contains("no [2J such key xxx"), "{text}");
            assert!(text.len() < 600, "{}", text.len());
        }
        assert!(answer(&error).chars().count() <= REASON_CHARS);
    }
}
