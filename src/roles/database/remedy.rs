//! What helps where the database cannot be reached. It follows from what failed: a name, an address, a certificate, a file, a
//! login or a right.

use std::io::ErrorKind;

use percent_encoding::percent_decode_str;

use super::Loaded;
use chainflume_ops::tls::{TlsFault, has_certificate, wrong_variable};

/// Parts of messages of PostgreSQL, of the driver and of the system, each with what helps. The first that fits counts.
const REMEDIES: [(&[&str], &str); 11] = [
    (
        &["server does not support TLS"],
        "enable TLS on the server, or write ?sslmode=disable within your own network",
    ),
    (&["lookup address", "Name or service not known"], "check the name of the host"),
    (&["password authentication failed"], "check user and password: psql with the same url must connect"),
    (
        &["no pg_hba.conf entry"],
        "let an administrator add this host, user and database to pg_hba.conf of the server",
    ),
    (&["does not exist"], "create what is missing, or correct the url"),
    (
        &["permission denied for database"],
        "let an administrator run `grant connect on database … to …` for this role",
    ),
    (&["not permitted to log in"], "let an administrator run `alter role … login` for this role"),
    (
        &["too many clients", "too many connections", "connection slots are reserved"],
        "raise max_connections of the server or the role, or lower database.max_connections here",
    ),
    (
        &["is starting up", "is shutting down", "not yet accepting connections"],
        "wait until PostgreSQL has started",
    ),
    (
        &[
            "unexpected response from SSLRequest",
            "Connection reset",
            "expected to read",
            "unexpected end of file",
        ],
        "check host and port: what answers there is no PostgreSQL, or it ended the connection (its log has the reason)",
    ),
    (
        &["Connection refused", "timed out", "unreachable"],
        "check host and port, and that PostgreSQL runs and listens there",
    ),
];

/// What helps against this error.
pub(super) fn remedy(loaded: &Loaded, error: &str) -> String {
    let url = loaded.config.database.url.as_ref().map(|url| url.expose());
    if let Some(wrong) = url.and_then(wrong_file) {
        return wrong;
    }
    match (TlsFault::of(error), url.and_then(|url| files(url).find(|(key, _)| *key == "sslrootcert"))) {
        (Some(TlsFault::UnknownAuthority), Some((_, file))) => {
            return format!(
                "another authority signed the server's certificate than those in {file}: name the file of that one in sslrootcert"
            );
        }
        (Some(fault @ (TlsFault::NoAuthorities | TlsFault::UnknownAuthority)), None) => {
            return wrong_variable().unwrap_or_else(|| of_tls(fault).to_owned());
        }
        (Some(fault), _) => return of_tls(fault).to_owned(),
        (None, _) => {}
    }
    let fits = |words: &[&str]| words.iter().any(|words| error.contains(words));
    let known = REMEDIES.iter().find(|(words, _)| fits(words));
    known.map_or("check that it runs and lets us in", |(_, remedy)| remedy).to_owned()
}

fn of_tls(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::NoAuthorities | TlsFault::UnknownAuthority => {
            "the server's certificate is of an authority that this machine does not know: name the authority's file in the url, \
             ?sslmode=verify-full&sslrootcert=/path/ca.pem"
        }
        TlsFault::OtherName => "the server's certificate is for another name: write that name into the url",
        TlsFault::AuthorityAsServer => {
            "the server's certificate is that of an authority: let it sign another certificate for the server (basicConstraints CA:FALSE)"
        }
        TlsFault::Certificate => "renew the server's certificate, or correct the clock of this machine",
        TlsFault::NoTls => "the port does not speak TLS: check host and port",
        TlsFault::ClientCertificate => {
            "the server wants a certificate of the client: add &sslcert=/path/client.crt&sslkey=/path/client.key to the url"
        }
        TlsFault::ClientRefused => {
            "the server does not accept the certificate of the client: correct sslcert and sslkey, or the authorities that the server \
             trusts (ssl_ca_file)"
        }
    }
}

/// What is wrong with the first file of the URL that cannot be used.
fn wrong_file(url: &str) -> Option<String> {
    files(url).find_map(|(key, file)| match std::fs::read(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(format!(
            "the file {file} that the url names is not there; write the whole path: a relative one counts from the working folder"
        )),
        Err(error) => Some(format!("the file {file} that the url names cannot be read ({error}): correct {key}")),
        Ok(text) if key != "sslkey" && !has_certificate(&text) => {
            Some(format!("the file {file} has no certificate in PEM: name one in {key}"))
        }
        Ok(_) => None,
    })
}

/// The files that the URL names, each with its key.
fn files(url: &str) -> impl Iterator<Item = (&str, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(|(key, _)| matches!(*key, "sslrootcert" | "sslcert" | "sslkey"));
    named.map(|(key, file)| (key, percent_decode_str(file).decode_utf8_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ProcessEnvironment};

    fn remedy_of(url: &str, error: &str) -> String {
        let path = std::path::PathBuf::from("chainflume.toml");
        let text = format!(
            "[database]\nurl = \"{url}\"\n[[chain]]\nname = \"dev\"\nchain_id = 1\nhttp = \"http://localhost\"\n\
             [[source]]\nname = \"a\"\nchain = \"dev\"\nfamily = \"erc20\"\naddress = \"any\"\nstart_block = 0\n"
        );
        let config = Config::parse(&path, &text, &ProcessEnvironment).expect("it is right");
        remedy(&Loaded { path, config }, error)
    }

    #[test]
    fn the_remedy_follows_from_what_failed() {
        for (error, words) in [
            ("invalid peer certificate: UnknownIssuer", "sslrootcert="),
            (
                "invalid peer certificate: certificate not valid for name \"db\"; certificate is",
                "another name",
            ),
            ("invalid peer certificate: Expired", "clock"),
            ("failed to lookup address information: Name or service not known", "name of the host"),
            ("password authentication failed for user \"flume\"", "user and password"),
            ("no pg_hba.conf entry for host \"10.0.0.1\"", "pg_hba.conf"),
            ("database \"flume\" does not exist", "create what is missing"),
            ("Connection refused (os error 111)", "host and port"),
            ("permission denied for database \"flume\"", "grant connect on database"),
            ("role \"flume\" is not permitted to log in", "alter role … login"),
            ("sorry, too many clients already", "database.max_connections"),
            ("too many connections for role \"flume\"", "database.max_connections"),
            ("the database system is starting up", "wait until PostgreSQL has started"),
            ("unexpected response from SSLRequest: 0x48", "what answers there is no PostgreSQL"),
            ("Connection reset by peer (os error 104)", "what answers there is no PostgreSQL"),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "CA:FALSE"),
            ("the server spoke in tongues", "check that it runs and lets us in"),
        ] {
            let found = remedy_of("postgres://u@h/db", error);
            assert!(found.contains(words), "{error}: {found}");
        }
    }

    #[test]
    fn a_certificate_file_that_is_not_there_is_named() {
        let url = "postgres://u@h/db?sslmode=verify-full&sslrootcert=no%20such.pem";
        let found = remedy_of(url, "No such file or directory (os error 2)");
        assert!(found.starts_with("the file no such.pem that the url names is not there"), "{found}");
        let unknown = "invalid peer certificate: UnknownIssuer";
        let empty = remedy_of("postgres://u@h/db?sslrootcert=/dev/null", unknown);
        assert_eq!(empty, "the file /dev/null has no certificate in PEM: name one in sslrootcert");
        let folder = remedy_of("postgres://u@h/db?sslrootcert=/dev", "Is a directory (os error 21)");
        assert_eq!(
            folder,
            "the file /dev that the url names cannot be read (Is a directory (os error 21)): correct sslrootcert"
        );
        let root = tempfile::NamedTempFile::new().expect("a file");
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        std::fs::write(root.path(), pem).expect("it is ours");
        let other = remedy_of(&format!("postgres://u@h/db?sslrootcert={}", root.path().display()), unknown);
        assert!(
            other.contains(&format!("than those in {}: name the file", root.path().display())),
            "{other}"
        );
    }
}
