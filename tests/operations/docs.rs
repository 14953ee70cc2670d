use std::path::Path;

use crate::metrics::{Metric, as_markdown, of_the_code, read as read_metrics};
use crate::{path, read};

const PAGE: &str = "docs/METRICS.md";

#[test]
fn the_page_of_metrics_is_generated_from_the_code() {
    let page = as_markdown(&of_the_code());
    if std::env::var_os("CHAINFLUME_WRITE_DOCS").is_some() {
        std::fs::write(path(PAGE), page).unwrap();
    } else {
        assert!(read(PAGE) == page, "{PAGE} is not what the code gives; run `make docs`");
    }
}

#[test]
fn metrics_are_read_from_the_code_with_their_labels() {
    let text = r#"
const A: &str = "chainflume_a_total";
const B: &str = "chainflume_b_block";
const C: &str = "chainflume_c_seconds";
fn describe() {
    describe_counter!(
        A,
        "one (\"and\" \
         more)"
    );
    describe_gauge!(B, "two");
    describe_histogram!(C, "three");
}
pub fn starts() {
    for name in [A] {
        counter!(name, "chain" => x.to_owned()).increment(0);
    }
}
pub fn a(x: &str) {
    counter!(A, "chain" => x.to_owned(), "kind" => kind(x)).increment(1);
}
pub fn b() {
    for (metric, number) in [(B, 1)] {
        gauge!(metric, "chain" => x).set(1);
    }
    let labels = [("sink", x.to_owned()), ("type", y)];
    histogram!(C, &labels).record(1);
}
"#;
    let metric = |name: &str, kind: &str, labels: &[&str], meaning: &str| Metric {
        name: name.to_owned(),
        kind: kind.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        meaning: meaning.to_owned(),
    };
    assert_eq!(
        read_metrics(text),
        [
            metric("chainflume_a_total", "counter", &["chain", "kind"], "one (\"and\" more)"),
            metric("chainflume_b_block", "gauge", &["chain"], "two"),
            metric("chainflume_c_seconds", "histogram", &["sink", "type"], "three"),
        ]
    );
}

#[test]
fn the_code_that_a_decision_names_exists() {
    for page in std::fs::read_dir(path("docs/decisions")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("Code: ")) {
            // Every second part is in back quotes: a path, or a module below the path before it.
            let mut folder = "";
            for name in line.split('`').skip(1).step_by(2) {
                if name.contains('/') {
                    folder = name;
                    assert!(path(name).exists(), "{}: there is no {name}", page.display());
                    continue;
                }
                let file = format!("{}.rs", name.replace("::", "/"));
                assert!(holds(&path(folder), &file), "{}: {folder} has no {file}", page.display());
            }
        }
    }
}

/// Whether `folder`, or a folder in it, has this file.
fn holds(folder: &Path, file: &str) -> bool {
    let mut folders = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    folder.join(file).is_file() || folders.any(|path| path.is_dir() && holds(&path, file))
}
