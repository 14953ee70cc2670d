//! What Redis' answers mean.

use ::redis::{ErrorKind, RedisError, Value, from_redis_value_ref};

use crate::sink::SinkError;

/// The number in `last-generated-id` of `XINFO STREAM`.
pub(super) fn last_generated(info: &[Value]) -> Result<u64, RedisError> {
    let unknown =
        || RedisError::from((ErrorKind::UnexpectedReturnType, "no last-generated-id in XINFO STREAM"));
    for pair in info.chunks_exact(2) {
        let name: String = from_redis_value_ref(&pair[0]).map_err(|_| unknown())?;
        if name == "last-generated-id" {
            let id: String = from_redis_value_ref(&pair[1]).map_err(|_| unknown())?;
            return id.split('-').next().and_then(|number| number.parse().ok()).ok_or_else(unknown);
        }
    }
    Err(unknown())
}

pub(super) fn is_no_such_key(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("no such key"))
}

/// An error that is not known counts as one a person must look at: it is tried again all the same.
pub(super) fn explain(host: &str, error: &RedisError) -> SinkError {
    let (sink, host) = ("redis", host.to_owned());
    let Some(code) = error.code().map(str::to_owned) else {
        return match error.kind() {
            ErrorKind::AuthenticationFailed => refused(host, error, "check user and password in redis.url"),
            ErrorKind::InvalidClientConfig => refused(host, error, "correct redis.url"),
            _ => SinkError::Unreachable { sink, host, reason: error.to_string() },
        };
    };
    match code.as_str() {
        "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "OOM" | "MISCONF"
        | "NOREPLICAS" => SinkError::Unready { sink, host, answer: answer(error) },
        "MOVED" | "ASK" | "CROSSSLOT" => {
            refused(host, error, "this is a node of a Redis Cluster; name a single server in redis.url")
        }
        "NOAUTH" | "WRONGPASS" => refused(host, error, "check user and password in redis.url"),
        "NOPERM" => refused(
            host,
            error,
            "let the user run eval, xinfo, xadd, xrange and publish on the streams and channels of redis.prefix",
        ),
        "WRONGTYPE" => refused(host, error, "a key of this name is no stream; set another redis.prefix"),
        _ => refused(host, error, "see the server's log"),
    }
}

fn refused(host: String, error: &RedisError, remedy: &'static str) -> SinkError {
    SinkError::Refused { sink: "redis", host, answer: answer(error), remedy }
}

fn answer(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
