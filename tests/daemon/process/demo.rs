use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{Daemon, Home, finish};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_by_itself_with_every_row_compared() {
    let home = Home::bare();
    let data = home.path("demo");
    let data_dir = data.to_str().expect("plain");
    let output =
        finish(home.command(&["demo", "--for", "5s", "--block-time", "200ms", "--data-dir", data_dir])).await;
    let text = output.fine();
    for words in ["\nsummary\n", "  first event      ", "  reorgs undone    ", "rows compared\n"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.ends_with("every row agrees with the chain\n"), "{text}");
    assert!(!data.exists(), "it cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_no_demos_is_not_emptied() {
    let home = Home::bare();
    let data = home.path("mine");
    std::fs::create_dir(&data).expect("the folder takes one");
    std::fs::write(data.join("thesis.txt"), "years").expect("likewise");
    let output = finish(home.command(&["demo", "--data-dir", data.to_str().expect("plain")])).await;
    assert_eq!(
        output.error(78),
        format!("{} is not empty and holds no earlier demo; name another --data-dir", data.display())
    );
    assert_eq!(std::fs::read_to_string(data.join("thesis.txt")).expect("it is there"), "years");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_demo_leaves_the_first_alone_and_ctrl_c_sums_up() {
    let home = Home::bare();
    let data = home.path("demo");
    let arguments = ["demo", "--block-time", "200ms", "--data-dir", data.to_str().expect("plain")];
    let mut first = Daemon::new(home.command(&arguments), 0);
    first.until_printed("chain     ").await;
    let second = finish(home.command(&arguments)).await;
    assert_eq!(
        second.error(75),
        format!("a demo is running in {}; stop it or name another --data-dir", data.display())
    );
    first.until_printed("live from here").await;
    let status =
        finish(home.command(&["--config", data.join("demo.toml").to_str().expect("plain"), "status"])).await;
    let status = status.fine();
    assert!(status.contains(" is ready\n"), "{status}");
    first.signal(Signal::INT);
    assert_eq!(first.ended(Duration::from_secs(30)).await, Some(0), "{}", first.log());
    first.until_text("every row agrees with the chain\n");
    assert!(!data.exists(), "it cleans up");
}
