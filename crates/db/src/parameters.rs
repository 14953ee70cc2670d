/// The parameters of a URL, by their names in libpq.
pub const URL_PARAMETERS: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The values of `sslmode`.
pub const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The parameter of libpq that the driver takes under this name; `None` for what the driver would ignore. Its own `options[name]` and
/// `statement-cache-capacity` are parameters too.
pub fn url_parameter(name: &str) -> Option<&str> {
    Some(match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        "statement-cache-capacity" => name,
        option if option.starts_with("options[") && option.ends_with(']') => "options",
        other => URL_PARAMETERS.into_iter().find(|known| *known == other)?,
    })
}
