//! The metrics and labels of PromQL expressions, and whether a daemon's `/metrics` has them.

use std::collections::{BTreeMap, BTreeSet};

/// A selector in an expression: a metric and conditions on its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    /// Label, operator and value.
    pub matchers: Vec<(String, String, String)>,
}

/// The metrics and labels of an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub selectors: Vec<Selector>,
    /// Labels of `by`, `without`, `on`, `ignoring` and `group_left`.
    pub grouping: Vec<String>,
}

const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const KEYWORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan"];

/// Reads an expression. `promtool` checks its syntax.
pub fn parse(expression: &str) -> Query {
    let (mut query, mut rest) = (Query::default(), expression);
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            rest = after(&rest[1..], '"');
        } else if c == '[' {
            rest = after(rest, ']');
        } else if c.is_ascii_digit() || c == '$' {
            rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || "._$".contains(c));
        } else if is_word(c) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let (word, behind) = (&rest[..end], rest[end..].trim_start());
            rest = behind;
            if GROUPING.contains(&word) {
                if let Some(list) = behind.strip_prefix('(') {
                    let list = list.split(')').next().unwrap_or_default();
                    query.grouping.extend(list.split(',').map(|label| label.trim().to_owned()));
                    rest = after(behind, ')');
                }
            } else if !is_call(behind) && !KEYWORDS.contains(&word) {
                let mut selector = Selector { metric: word.to_owned(), matchers: Vec::new() };
                if let Some(inside) = behind.strip_prefix('{') {
                    selector.matchers = matchers(inside.split('}').next().unwrap_or_default());
                    rest = after(behind, '}');
                }
                query.selectors.push(selector);
            }
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    query
}

/// `rate(…)`, or `sum by (…) (…)`.
fn is_call(behind: &str) -> bool {
    behind.starts_with('(')
        || ["by (", "by(", "without (", "without("].iter().any(|word| behind.starts_with(word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

fn after(text: &str, mark: char) -> &str {
    text.split_once(mark).map_or("", |(_, rest)| rest)
}

fn matchers(text: &str) -> Vec<(String, String, String)> {
    let matcher = |part: &str| {
        let at = part.find(['=', '!'])?;
        let value = part.find('"')?;
        let parts = (&part[..at], &part[at..value], part[value..].trim().trim_matches('"'));
        Some((parts.0.trim().to_owned(), parts.1.trim().to_owned(), parts.2.to_owned()))
    };
    text.split("\",")
        .map(|part| format!("{}\"", part.trim_end_matches('"')))
        .filter_map(|part| matcher(&part))
        .collect()
}

/// The contents of an answer of `/metrics`.
#[derive(Debug, Default)]
pub struct Exposed {
    /// Type by name.
    pub types: BTreeMap<String, String>,
    /// Labels of each series, by the name of its samples.
    pub series: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

impl Exposed {
    /// Reads the text format of Prometheus.
    pub fn read(text: &str) -> Self {
        let mut exposed = Self::default();
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').expect("# TYPE name type");
                exposed.types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') && !line.is_empty() {
                let (name, labels) = match line.split_once('{') {
                    Some((name, rest)) => (name, matchers(rest.rsplit_once('}').expect("closed").0)),
                    None => (line.split(' ').next().unwrap_or_default(), Vec::new()),
                };
                let labels = labels.into_iter().map(|(label, _, value)| (label, value)).collect();
                exposed.series.entry(name.to_owned()).or_default().push(labels);
            }
        }
        exposed
    }

    /// The label names of a metric, without `le`.
    pub fn labels(&self, metric: &str) -> BTreeSet<&str> {
        let samples = ["", "_bucket", "_sum", "_count"].map(|suffix| format!("{metric}{suffix}"));
        let series = samples.iter().filter_map(|name| self.series.get(name)).flatten();
        series.flat_map(BTreeMap::keys).map(String::as_str).filter(|label| *label != "le").collect()
    }

    /// The metrics and labels of an expression that are missing here.
    pub fn lacks(&self, query: &Query) -> Vec<String> {
        let mut problems = Vec::new();
        let mut known: BTreeSet<&str> = SCRAPED.iter().copied().collect();
        for selector in query.selectors.iter().filter(|selector| selector.metric != "up") {
            let Some(series) = self.series.get(&selector.metric) else {
                problems.push(format!("there is no metric {}", selector.metric));
                continue;
            };
            known.extend(series.iter().flat_map(BTreeMap::keys).map(String::as_str));
            for (label, operator, value) in &selector.matchers {
                let values: BTreeSet<_> = series.iter().filter_map(|labels| labels.get(label)).collect();
                let free = SCRAPED.contains(&label.as_str()) || operator != "=" || value.contains('$');
                if values.is_empty() && !SCRAPED.contains(&label.as_str()) {
                    problems.push(format!("{} has no label {label}", selector.metric));
                } else if !free && !values.contains(value) {
                    problems.push(format!("{}: {label} is never {value}", selector.metric));
                }
            }
        }
        let strangers = query.grouping.iter().filter(|label| !known.contains(label.as_str()));
        problems.extend(strangers.map(|label| format!("no metric of it has the label {label}")));
        problems
    }
}

/// The labels that Prometheus adds to every sample.
const SCRAPED: &[&str] = &["job", "instance"];

/// The expressions of a file of rules, by alert. A value is one line, or the deeper lines under `>-` or `|`.
pub fn rules(text: &str) -> Vec<(String, String)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let (mut rules, mut alert) = (Vec::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            name.clone_into(&mut alert);
        } else if let Some(value) = line.trim().strip_prefix("expr: ") {
            let mut expression = if [">-", "|"].contains(&value) { String::new() } else { value.to_owned() };
            while expression.is_empty() || lines.peek().is_some_and(|next| indent(next) > indent(line)) {
                let Some(next) = lines.next() else { break };
                expression = format!("{expression} {}", next.trim());
            }
            rules.push((alert.clone(), expression.trim().to_owned()));
        }
    }
    rules
}

/// Every expression of a dashboard with the title of its panel and its legend, and every query of its variables.
pub fn dashboard(json: &serde_json::Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    for panel in json["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((word(&panel["title"]), word(&target["expr"]), word(&target["legendFormat"])));
        }
    }
    for variable in json["templating"]["list"].as_array().into_iter().flatten() {
        let query = word(&variable["query"]["query"]);
        if let Some((metric, label)) =
            query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')?.split_once(','))
        {
            let expression = format!("sum by ({}) ({metric})", label.trim());
            found.push((format!("variable {}", variable["name"]), expression, String::new()));
        }
    }
    found
}

/// The labels of a legend that its expression does not keep.
pub fn unknown_in_legend(query: &Query, legend: &str, exposed: &Exposed) -> Vec<String> {
    let shown = legend.split("{{").skip(1).filter_map(|part| part.split("}}").next()).map(str::trim);
    let kept = |label: &&str| {
        let by_metric = query.selectors.iter().any(|s| {
            exposed
                .series
                .get(&s.metric)
                .is_some_and(|all| all.iter().any(|labels| labels.contains_key(*label)))
        });
        if query.grouping.is_empty() { by_metric } else { query.grouping.iter().any(|kept| kept == label) }
    };
    shown.filter(|label| !kept(label)).map(str::to_owned).collect()
}
