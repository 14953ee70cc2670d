use crate::promql::{Exposed, Selector, dashboard, parse, unknown_in_legend};
use crate::{assert_fine, promtool, read};

/// The placeholder of a time range or a choice in the dashboard, and something Prometheus reads in its place.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "1m"), ("$job", "chainflume"), ("$chain", "dev")];

#[test]
fn prometheus_accepts_every_expression() {
    let json = serde_json::from_str(&read("config/grafana/chainflume.json")).unwrap();
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (at, (_, expression, _)) in dashboard(&json).into_iter().enumerate() {
        let expression = VARIABLES.iter().fold(expression, |text, (name, value)| text.replace(name, value));
        let quoted = serde_json::to_string(&expression).unwrap();
        rules += &format!("      - record: panel:number:{at}\n        expr: {quoted}\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yml");
    std::fs::write(&file, rules).unwrap();
    assert_fine(&promtool(&["check", "rules", file.to_str().unwrap()]));
}

#[test]
fn every_panel_has_a_place_of_its_own() {
    let json: serde_json::Value = serde_json::from_str(&read("config/grafana/chainflume.json")).unwrap();
    let mut taken = std::collections::BTreeMap::new();
    for panel in json["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert_eq!(taken.insert(cell, &panel["title"]), None, "{}", panel["title"]);
        }
    }
}

#[test]
fn an_expression_is_read_and_what_it_lacks_is_found() {
    let expression = "histogram_quantile(0.9, sum by (le, chain) (rate(a_bucket{x=\"1\", y!=\"b,c\"}[5m]))) \
        unless on (job) up == bool 2 or a_bucket offset 1h";
    let query = parse(expression);
    let matcher = |label: &str, operator: &str, value: &str| (label.into(), operator.into(), value.into());
    let selector = Selector {
        metric: "a_bucket".into(),
        matchers: vec![matcher("x", "=", "1"), matcher("y", "!=", "b,c")],
    };
    assert_eq!(query.selectors[0], selector);
    let metrics: Vec<&str> = query.selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(metrics, ["a_bucket", "up", "a_bucket"]);
    assert_eq!(query.grouping, ["le", "chain", "job"]);

    let exposed = Exposed::read("# TYPE a histogram\na_bucket{x=\"2\",le=\"1\"} 3\na_count{x=\"2\"} 3\n");
    assert_eq!(exposed.labels("a").into_iter().collect::<Vec<_>>(), ["x"]);
    assert_eq!(
        exposed.lacks(&query),
        ["a_bucket: x is never 1", "a_bucket has no label y", "no metric of it has the label chain"]
    );
    assert_eq!(exposed.lacks(&parse("b")), ["there is no metric b"]);
    assert_eq!(unknown_in_legend(&query, "{{chain}} {{x}}", &exposed), ["x"]);
}
