//! The metrics of `crates/ops/src/metrics`, read from its text, so that every existing metric is documented.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::root;

/// A metric, as the code defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Labels, in their order in the code.
    pub labels: Vec<String>,
    pub meaning: String,
}

/// Every metric of this crate, in the order in which they are described.
pub fn of_the_code() -> Vec<Metric> {
    let source = root().join("crates/ops/src");
    let mut texts = vec![std::fs::read_to_string(source.join("metrics.rs")).expect("it is there")];
    if let Ok(folder) = std::fs::read_dir(source.join("metrics")) {
        let mut files: Vec<_> = folder.map(|file| file.expect("listed").path()).collect();
        // The order of a folder is undefined, but the page of metrics needs an order.
        files.sort_unstable();
        texts.extend(files.into_iter().map(|file| std::fs::read_to_string(file).expect("text")));
    }
    read(&texts.join("\n"))
}

/// Reads names from `const NAME: &str = "…"`, meanings from `describe_…!` and labels from the places that write the
/// metric.
pub fn read(text: &str) -> Vec<Metric> {
    let names = names(text);
    let labels = labels(text, &names);
    let described = calls(text, "describe_").into_iter();
    let metric = |Call { kind, arguments, .. }: Call| {
        let constant = first_word(&arguments);
        let name = names.get(constant).unwrap_or_else(|| panic!("{constant} is described and has no name"));
        let meaning = strings(&arguments).concat();
        let labels = labels.get(constant).cloned().unwrap_or_default();
        Metric { name: name.clone(), kind, labels, meaning }
    };
    let metrics: Vec<Metric> = described.map(metric).collect();
    let lacking = names.values().filter(|name| metrics.iter().all(|metric| metric.name != **name));
    assert_eq!(lacking.collect::<Vec<_>>(), Vec::<&String>::new(), "metrics that nothing describes");
    metrics
}

/// The documentation page.
pub fn as_markdown(metrics: &[Metric]) -> String {
    let mut page = String::from(INTRODUCTION);
    for metric in metrics {
        let Metric { name, kind, labels, meaning } = metric;
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let unit = unit(metric);
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {unit} | {meaning} |", labels.join(", "));
    }
    page
}

const INTRODUCTION: &str = "\
# Metrics

What `/metrics` answers, for Prometheus. Written by `make docs` from `crates/ops/src/metrics`, and kept true by a test.

Names follow Prometheus: base units, `_total` for counters. A histogram `x` is exposed as `x_bucket` (with the label
`le`), `x_sum` and `x_count`. Counters of what is configured start at zero, so that `increase()` sees the first one;
ages and lags are computed at the scrape, so that they grow during a stall. Labels hold names from the configuration
and words of the program, and never a URL.

[Alert rules](../config/prometheus/alerts.yml) and a [dashboard](../config/grafana/chainflume.json) are made of these.

| metric | type | labels | unit | meaning |
|---|---|---|---|---|
";

/// The unit by the name, as in Prometheus.
fn unit(metric: &Metric) -> &'static str {
    let name = metric.name.trim_end_matches("_total");
    if name.contains("_seconds") {
        return "seconds";
    }
    let units =
        [("_blocks", "blocks"), ("_block", "block number"), ("_bytes", "bytes"), ("_messages", "messages")];
    let by_name = units.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, unit)| *unit);
    by_name.unwrap_or(if metric.meaning.starts_with('1') { "1 or 0" } else { "count" })
}

/// A macro call in the text.
struct Call {
    kind: String,
    arguments: String,
}

/// The calls of `<prefix>counter!`, `<prefix>gauge!` and `<prefix>histogram!`.
fn calls(text: &str, prefix: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    for kind in ["counter", "gauge", "histogram"] {
        let word = format!("{prefix}{kind}!(");
        for (at, _) in text.match_indices(&word) {
            let inside_a_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if !inside_a_word {
                let arguments = until_closed(&text[at + word.len()..]).to_owned();
                calls.push((at, Call { kind: kind.to_owned(), arguments }));
            }
        }
    }
    calls.sort_by_key(|(at, _)| *at);
    calls.into_iter().map(|(_, call)| call).collect()
}

/// The text up to the closing parenthesis.
fn until_closed(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

fn names(text: &str) -> BTreeMap<String, String> {
    let name = |line: &str| {
        let (_, after) = line.trim().split_once("const ")?;
        let (constant, value) = after.split_once(": &str = \"")?;
        let value = value.strip_suffix("\";")?;
        value.starts_with("chainflume_").then(|| (constant.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(name).collect()
}

/// The labels of each constant, function by function.
fn labels(text: &str, names: &BTreeMap<String, String>) -> BTreeMap<String, Vec<String>> {
    let mut labels = BTreeMap::<String, Vec<String>>::new();
    let functions = text.split("\nfn ").flat_map(|part| part.split("\npub fn "));
    for function in functions.flat_map(|part| part.split("\npub(super) fn ")) {
        let calls = calls(function, "");
        let direct: Vec<&str> = calls.iter().map(|call| first_word(&call.arguments)).collect();
        // A loop takes its metrics from a list: the constants of the function that no call names.
        let listed = words(function).filter(|word| names.contains_key(*word) && !direct.contains(word));
        let listed: Vec<&str> = listed.collect();
        for call in &calls {
            let constant = first_word(&call.arguments);
            let written = if names.contains_key(constant) { vec![constant] } else { listed.clone() };
            let own = labels_of(call, function);
            for constant in written {
                let known = labels.entry(constant.to_owned()).or_default();
                known.extend(own.iter().filter(|label| !known.contains(label)).cloned().collect::<Vec<_>>());
            }
        }
    }
    labels
}

/// `"chain" => …` in the call itself, or `("chain", …)` of the list that it borrows.
fn labels_of(call: &Call, function: &str) -> Vec<String> {
    let before = |text: &str, mark: &str| -> Vec<String> {
        let parts: Vec<&str> = text.split(mark).collect();
        let (_, heads) = parts.split_last().expect("a split has a part");
        let label = |head: &&str| Some(head.strip_suffix('"')?.rsplit('"').next()?.to_owned());
        heads.iter().filter_map(label).collect()
    };
    let mut labels = before(&call.arguments, " => ");
    if call.arguments.contains('&') {
        let list = function.split_once("labels").map_or("", |(_, list)| list);
        let list = list.split_once("];").map_or("", |(list, _)| list);
        labels
            .extend(list.split("(\"").skip(1).filter_map(|part| Some(part.split_once("\",")?.0.to_owned())));
    }
    labels
}

fn first_word(text: &str) -> &str {
    words(text).next().unwrap_or_default()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Stands for a quote that is escaped.
const QUOTE: &str = "\u{1}";

/// The string literals, without the line breaks that Rust ignores.
fn strings(text: &str) -> Vec<String> {
    // A quote inside a literal is set aside, so that it does not end the literal.
    let text = text.replace("\\\"", QUOTE);
    let literals = text.split('"').skip(1).step_by(2);
    literals
        .map(|literal| literal.replace(QUOTE, "\""))
        .map(|literal| {
            let mut lines = literal.split("\\\n");
            let first = lines.next().unwrap_or_default().to_owned();
            lines.fold(first, |text, line| text + line.trim_start())
        })
        .collect()
}
