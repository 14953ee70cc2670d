//! `psql`: opens the database in PostgreSQL's own client.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;

use tokio::process::Command;

use crate::roles::database::OpenDatabase;
use crate::roles::parts::postgres_settings;
use crate::roles::{AppError, Loaded};

/// Runs `psql` with these arguments on the configured or the private database, and returns how it ended. A private server that no
/// daemon runs is started for as long.
///
/// # Errors
/// That there is no database yet, or that it or `psql` cannot be started.
pub async fn psql(loaded: &Loaded, arguments: &[OsString]) -> Result<ExitStatus, AppError> {
    let Some(database) = OpenDatabase::open_daemons_made(loaded).await? else {
        let text = "there is no private database yet: `chainflume run` makes it";
        return Err(AppError::Unavailable(text.to_owned()));
    };
    let url = match &loaded.config.database.url {
        Some(url) => url.expose().to_owned(),
        None => database.private_url(loaded).await?,
    };
    let (url, password) = without_password(&url);
    let mut command = Command::new(program(loaded));
    command.arg(url).args(arguments);
    if let Some(password) = password {
        // Arguments of a process can be read by every user of the machine, its environment cannot.
        command.env("PGPASSWORD", password);
    }
    // Ctrl-C cancels a statement of psql and is not to end this process before it.
    let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    let ended = command.status().await;
    drop(interrupts);
    database.close().await;
    ended.map_err(|error| {
        AppError::Unavailable(format!("psql cannot be started ({error}); install postgresql-client"))
    })
}

/// That of PATH, or the one beside the configured server programs.
fn program(loaded: &Loaded) -> PathBuf {
    let beside = postgres_settings(&loaded.config).bin_dir.map(|folder| folder.join("psql"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("psql"))
}

/// The URL without its password, and the password, decoded. Of a password among the parameters and one before the host the first
/// counts, as for the driver and for libpq.
fn without_password(url: &str) -> (String, Option<String>) {
    let (bare, before_host) = without_password_before_host(url);
    let (bare, parameter) = without_password_parameter(&bare);
    let decoded = |text: String| percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
    (bare, parameter.or(before_host).map(decoded))
}

/// `postgres://user:password@host`
fn without_password_before_host(url: &str) -> (String, Option<String>) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let (name, password) = user.split_once(':')?;
        Some((format!("{scheme}://{name}{}", &rest[user.len()..]), Some(password.to_owned())))
    });
    parts.unwrap_or_else(|| (url.to_owned(), None))
}

/// `postgres://host/name?password=…`
fn without_password_parameter(url: &str) -> (String, Option<String>) {
    let Some((before, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let is_password = |pair: &&str| pair.starts_with("password=");
    let (passwords, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_password);
    let bare = match others.is_empty() {
        true => before.to_owned(),
        false => format!("{before}?{}", others.join("&")),
    };
    let last = passwords.last().and_then(|pair| pair.strip_prefix("password="));
    (bare, last.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_leaves_the_url() {
        let password = |url| without_password(url);
        let with = |url: &str, password: &str| (url.to_owned(), Some(password.to_owned()));
        assert_eq!(password("postgres://u:a%40b@h:5432,g/db"), with("postgres://u@h:5432,g/db", "a@b"));
        assert_eq!(password("postgres://u:@h"), with("postgres://u@h", ""));
        assert_eq!(
            password("postgres:///db?host=/run&password=a%26b&user=u"),
            with("postgres:///db?host=/run&user=u", "a&b")
        );
        assert_eq!(password("postgres://u:one@h/db?password=two"), with("postgres://u@h/db", "two"));
        for plain in ["postgres://u@h/db", "postgres:///db?host=/run", "postgres://h/db?x=a:b@c"] {
            assert_eq!(password(plain), (plain.to_owned(), None));
        }
    }
}
