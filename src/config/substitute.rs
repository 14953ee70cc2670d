use std::env::VarError;
use std::ops::Range;
use std::path::Path;

use super::environment::{Environment, FileError};
use super::problem::Fault;

/// A string with its variables filled in.
pub(super) struct Substituted {
    pub value: String,
    /// Whether a variable was named, so that the value must not be shown.
    pub hidden: bool,
}

/// Fills in `${VAR}` and `${VAR:-default}`; `$${` means `${`, any other `$` is itself.
///
/// Done on values after parsing and not on the text before it: a value with a quote or a line break in it
/// can then neither break the TOML nor move its lines. In the user part of a URL a value is percent-encoded.
pub(super) fn substitute(raw: &str, environment: &dyn Environment) -> Result<Substituted, Vec<Fault>> {
    let mut done = Substituted { value: String::with_capacity(raw.len()), hidden: false };
    let mut faults = Vec::new();
    let user_part = user_part(raw);
    let mut rest = raw;
    while let Some(start) = rest.find("${") {
        let (before, opened) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            done.value.push_str(before);
            done.value.push_str("${");
            rest = &opened[2..];
            continue;
        }
        done.value.push_str(before);
        done.hidden = true;
        let Some(end) = opened.find('}') else {
            faults.push(Fault::new("has `${` without `}`", "close it, or write `$${` for a plain `${`"));
            rest = "";
            break;
        };
        match variable(&opened[2..end], environment) {
            Ok(value) if user_part.contains(&(raw.len() - opened.len())) => {
                done.value.push_str(&encoded(&value));
            }
            Ok(value) => done.value.push_str(&value),
            Err(fault) => faults.push(fault),
        }
        rest = &opened[end + 1..];
    }
    done.value.push_str(rest);
    if faults.is_empty() { Ok(done) } else { Err(faults) }
}

/// The value of the text between the braces.
fn variable(inside: &str, environment: &dyn Environment) -> Result<String, Fault> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        let remedy = "write `${NAME}` or `${NAME:-default}`, where NAME is of letters, digits and `_`";
        return Err(Fault::new("has `${…}` without the name of a variable", remedy));
    }
    if default.is_some_and(|default| default.contains("${")) {
        let remedy = "write the default out";
        return Err(Fault::new(format!("has a variable in the default of `{name}`"), remedy));
    }
    match (environment.var(name), default) {
        (Ok(value), None) => Ok(value),
        // As in a shell, `:-` takes an empty variable for one that is not set.
        (Ok(value), Some(_)) if !value.is_empty() => Ok(value),
        (Err(VarError::NotUnicode(_)), None) => {
            Err(Fault::new(format!("the variable {name} is not UTF-8"), "set it to text"))
        }
        (_, default) => match (of_file(name, environment)?, default) {
            (Some(text), _) => Ok(text),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Fault::new(
                format!("the variable {name} is not set"),
                format!(
                    "set it in the environment, name a file that holds the value in {name}_FILE, or give a default: \
                     `${{{name}:-…}}`"
                ),
            )),
        },
    }
}

/// A secret is a line; a megabyte is not one.
const LONGEST_SECRET: u64 = 64 << 10;
/// Where Docker and Kubernetes put secrets by their name
/// (<https://docs.docker.com/engine/swarm/secrets/>).
const SECRETS: &str = "/run/secrets";

/// The text of the file that holds the variable's value, without the line break at its end: the file that `NAME_FILE` names,
/// or else a credential of systemd (`LoadCredential=`, systemd.exec(5)) or a secret of Docker with the variable's name.
fn of_file(name: &str, environment: &dyn Environment) -> Result<Option<String>, Fault> {
    let variable = format!("{name}_FILE");
    let named = environment.var(&variable).ok().filter(|path| !path.is_empty());
    let credentials = environment.var("CREDENTIALS_DIRECTORY").ok().filter(|folder| !folder.is_empty());
    let by_name =
        credentials.into_iter().chain([SECRETS.to_owned()]).map(|folder| format!("{folder}/{name}"));
    for path in named.clone().into_iter().chain(by_name) {
        match environment.read(Path::new(&path), LONGEST_SECRET) {
            Ok(text) => return Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned())),
            Err(FileError::Missing) if named.as_ref() != Some(&path) => {}
            Err(error) => {
                let what = format!("the file of the variable {name} ({path}) {}", as_verb(&error));
                return Err(Fault::new(what, format!("correct {variable}, or the file and its rights")));
            }
        }
    }
    Ok(None)
}

fn as_verb(error: &FileError) -> String {
    match error {
        FileError::Missing => "is not there".to_owned(),
        FileError::TooLarge { .. } => format!("is larger than {} KiB", LONGEST_SECRET >> 10),
        error => error.to_string(),
    }
}

/// Where the user and password of a URL are, by its text before any variable is filled in: from `://` to the first `@`, if
/// no path begins before it.
fn user_part(raw: &str) -> Range<usize> {
    let Some(start) = raw.find("://").map(|at| at + 3) else { return 0..0 };
    let mut in_variable = false;
    for (at, c) in raw[start..].char_indices() {
        match c {
            '{' if raw[..start + at].ends_with('$') => in_variable = true,
            '}' => in_variable = false,
            '@' if !in_variable => return start..start + at,
            '/' | '?' | '#' | '\\' if !in_variable => break,
            _ => {}
        }
    }
    0..0
}

/// A value as the user part of a URL takes it (RFC 3986, section 3.2.1). A value that is percent-encoded already stays as it
/// is. A colon stays too: one variable may hold user and password.
fn encoded(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte);
    if is_escaped(value) && value.bytes().all(|byte| is_plain(byte) || byte == b'%') {
        return value.to_owned();
    }
    let one = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    value.bytes().map(one).collect()
}

/// Whether two hexadecimal digits follow each `%`.
pub(super) fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
