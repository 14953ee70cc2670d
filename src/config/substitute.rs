use std::env::VarError;

use super::environment::Environment;
use super::problem::Fault;

/// A string with its variables filled in.
pub(super) struct Substituted {
    pub value: String,
    /// Whether a variable was named, so that the value must not be shown.
    pub hidden: bool,
}

/// Fills in `${VAR}` and `${VAR:-default}`; `$${` stands for `${`, any other `$` for itself.
///
/// Done on values after parsing and not on the text before it: a value with a quote or a line break in it
/// can then neither break the TOML nor move its lines.
pub(super) fn substitute(raw: &str, environment: &dyn Environment) -> Result<Substituted, Vec<Fault>> {
    let mut done = Substituted { value: String::with_capacity(raw.len()), hidden: false };
    let mut faults = Vec::new();
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
            Ok(value) => done.value.push_str(&value),
            Err(fault) => faults.push(fault),
        }
        rest = &opened[end + 1..];
    }
    done.value.push_str(rest);
    if faults.is_empty() { Ok(done) } else { Err(faults) }
}

/// The value of what stands between the braces.
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
        (_, Some(default)) => Ok(default.to_owned()),
        (Err(VarError::NotPresent), None) => Err(Fault::new(
            format!("the variable {name} is not set"),
            format!("set it in the environment, or give a default: `${{{name}:-…}}`"),
        )),
        (Err(VarError::NotUnicode(_)), None) => {
            Err(Fault::new(format!("the variable {name} is not UTF-8"), "set it to text"))
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
