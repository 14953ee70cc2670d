use std::time::Duration;

use chainflume_publish::{ActivityStatus, ActivityTemplate};

use crate::given::{Given, RIGHT};

#[test]
fn the_application_has_texts_and_a_retention() {
    let text = format!(
        "{RIGHT}\n[publish]\nretention = \"90d\"\n[activity]\ntypes = [\"swap\"]\n[[activity.text]]\ntype = \"swap\"\n\
         status = \"failed\"\ntitle = \"{{data.from}} stays\"\n"
    );
    let publish = Given::default().right(&text).publish;
    assert_eq!(publish.events.retention, Some(Duration::from_hours(90 * 24)));
    let [text] = publish.activity_texts.as_slice() else { panic!("{:?}", publish.activity_texts) };
    assert_eq!((text.activity_type.as_str(), text.status), ("swap", ActivityStatus::Failed));
    assert_eq!(
        (text.title.clone(), text.description.clone()),
        (ActivityTemplate::parse("{data.from} stays").ok(), None)
    );
    assert_eq!(Given::default().right(RIGHT).publish.events.retention, None);
}

#[test]
fn texts_that_no_activity_can_have_are_refused() {
    let text = format!(
        r#"{RIGHT}
[publish]
retention = "1h"
[[activity.text]]
type = "swap"
status = "done"
title = "{{status}}"
[[activity.text]]
type = "send"
status = "completed"
description = "{{data.amount"
[[activity.text]]
type = "send"
status = "completed"
[[activity.text]]
"#
    );
    let problems = Given::default().wrong(&text).join("\n");
    for expected in [
        "publish.retention: `1h` is too small",
        "activity.text[0].type: `swap` is no type of activities",
        "activity.text[0].status: `done` is no status",
        "activity.text[0].title: `{status}` has `{status}` at character 1; an activity has {data.…}",
        "activity.text[1].description: `{data.amount` has a `{` or `}` without its counterpart at character 1",
        "activity.text[2].status: has a text already for this type",
        "activity.text[3].type: is missing",
        "activity.text[3].status: is missing",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
}
