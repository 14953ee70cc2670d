use crate::promql::{parse, rules};
use crate::{assert_fine, metrics, promtool, read};

const RULES: &str = "config/prometheus/alerts.yml";
const TESTS: &str = "config/prometheus/alerts.test.yml";

#[test]
fn prometheus_accepts_the_rules_and_they_do_what_they_are_for() {
    assert_fine(&promtool(&["check", "config", "prometheus.yml"]));
    assert_fine(&promtool(&["test", "rules", "alerts.test.yml"]));
}

#[test]
fn every_alert_is_seen_raised_and_seen_quiet() {
    let tests = read(TESTS);
    let rules = rules(&read(RULES));
    assert_eq!(rules.len(), read(RULES).matches("- alert: ").count());
    for (alert, _) in rules {
        let name = format!("alertname: {alert}\n        exp_alerts: ");
        let (raised, quiet) = (format!("{name}\n"), format!("{name}[]"));
        assert_eq!((tests.contains(&raised), tests.contains(&quiet)), (true, true), "{alert}");
    }
}

#[test]
fn every_alert_says_what_happened_and_what_to_do() {
    for alert in read(RULES).split("- alert: ").skip(1) {
        for key in ["severity: ", "summary: \"", "description: \""] {
            assert_eq!(alert.matches(key).count(), 1, "{key} {alert}");
        }
    }
}

#[test]
fn every_alert_asks_for_metrics_and_labels_of_the_code() {
    let known = metrics::of_the_code();
    for (alert, expression) in rules(&read(RULES)) {
        for selector in parse(&expression).selectors.iter().filter(|s| s.metric != "up") {
            let name = &selector.metric;
            let metric = known.iter().find(|metric| {
                let suffix = name.strip_prefix(&metric.name);
                suffix.is_some_and(|s| s.is_empty() || (metric.kind == "histogram" && s.starts_with('_')))
            });
            let metric = metric.unwrap_or_else(|| panic!("{alert}: {name}"));
            let unknown = selector.matchers.iter().map(|(label, ..)| label);
            let unknown: Vec<_> = unknown.filter(|l| *l != "le" && !metric.labels.contains(*l)).collect();
            assert_eq!(unknown, Vec::<&String>::new(), "{alert}: {name}");
        }
    }
}
