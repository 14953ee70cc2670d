use chainflume::config::AnswerConfig;
use chainflume_publish::trigger::{LimitSide, MissedRuns};
use serde_json::json;

use crate::given::{Given, RIGHT};

const PUBLISHES: &str = r#"
[[schedule]]
name = "report"
cron = "30 2 * * mon-fri"
zone = "Europe/Berlin"
type = "report.due"
missed = "all"
payload = { depth = 3, "places" = ["a", "${PLACE}"], deep = { flag = true } }
[[schedule]]
name = "sync"
cron = "@hourly"
type = "service.sync.due"
aggregate_type = "service"
aggregate_id = "sync-1"
[[threshold]]
name = "low"
chain = "base"
token = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
below = "5000000"
[[threshold]]
name = "high"
chain = "base"
token = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
above = "9"
type = "whale.seen"
[[webhook]]
name = "crm"
url = "https://crm.example/"
secret = "whsec_ZXhhbXBsZSBvZiBhIHNlY3JldCwgbm90IGEgc2VjcmV0"
[[reaction]]
name = "ship"
on = "order.*"
url = "https://ship.example/"
secret = "whsec_ZXhhbXBsZSBvZiBhIHNlY3JldCwgbm90IGEgc2VjcmV0"
type = "order.quoted"
timeout = "3s"
"#;

#[test]
fn what_the_daemon_publishes_by_itself_is_read() {
    let text = format!("{RIGHT}\n{PUBLISHES}");
    let config = Given::default().variable("PLACE", "b").right(&text);
    let [report, sync] = config.schedules.as_slice() else { panic!("{:?}", config.schedules) };
    assert_eq!(
        (report.missed, report.aggregate_type.as_str(), report.aggregate_id.as_str()),
        (MissedRuns::All, "schedule", "report")
    );
    assert_eq!(json!(report.payload), json!({ "depth": 3, "places": ["a", "b"], "deep": { "flag": true } }));
    assert_eq!(
        (sync.missed, sync.aggregate_type.as_str(), sync.aggregate_id.as_str()),
        (MissedRuns::Latest, "service", "sync-1")
    );
    let [low, high] = config.thresholds.as_slice() else { panic!("{:?}", config.thresholds) };
    assert_eq!(
        (low.limit.chain_id, low.limit.side, low.event_type.as_str()),
        (8453, LimitSide::Below, "account.balance.low")
    );
    let [crm, ship] = config.webhooks.as_slice() else { panic!("{:?}", config.webhooks) };
    assert_eq!((&crm.answers, crm.delivery.types.len()), (&None, 0));
    let answers = AnswerConfig { event_type: Some("order.quoted".to_owned()) };
    assert_eq!(
        (&ship.answers, &ship.delivery.types[..], ship.endpoint.timeout.as_secs()),
        (&Some(answers), &["order.*".to_owned()][..], 3)
    );
    assert_eq!((high.limit.side, high.event_type.as_str()), (LimitSide::Above, "whale.seen"));
}

const REFUSED: &str = r#"
[[schedule]]
name = "one"
cron = "60 * * * *"
type = "erc20.transfer"
missed = "some"
[[schedule]]
name = "one"
cron = "0 0 31 2 *"
type = "order.due"
aggregate_type = "token"
[[schedule]]
name = "two"
cron = "0 0 * * *"
zone = "Berlin"
type = "order"
payload = "text"
[[schedule]]
[[threshold]]
name = "alerts"
chain = "bsae"
token = "0x12"
below = "1.5"
[[threshold]]
name = "both"
chain = "base"
token = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
below = "1"
above = "2"
[[threshold]]
name = "none"
chain = "base"
token = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
[[webhook]]
name = "ship"
url = "https://crm.example/"
secret = "whsec_ZXhhbXBsZSBvZiBhIHNlY3JldCwgbm90IGEgc2VjcmV0"
[[reaction]]
name = "ship"
url = "https://ship.example/"
secret = "whsec_ZXhhbXBsZSBvZiBhIHNlY3JldCwgbm90IGEgc2VjcmV0"
type = "activity.done"
types = ["order.paid"]
"#;

#[test]
fn what_it_cannot_publish_is_refused() {
    let text = format!("{RIGHT}\n{REFUSED}");
    let problems = Given::default().wrong(&text);
    for expected in [
        "schedule[0].cron: `60 * * * *` is no cron expression",
        "schedule[0].type: `erc20.transfer` cannot be used: events of the type erc20.transfer come from Chainflume alone",
        "schedule[0].missed: `some` is not known here",
        "schedule[1].name: is that of another schedule too",
        "schedule[1].cron: `0 0 31 2 *` is never",
        "schedule[1].aggregate_type: cannot be used: the aggregate type token has another meaning",
        "schedule[2].zone: `Berlin` is no zone",
        "schedule[2].type: `order` cannot be used",
        "schedule[2].payload: ",
        "schedule[3].cron: is missing",
        "threshold[0].name: `alerts` is the name of people's own limits",
        "threshold[0].chain: `bsae` is no chain of this file (did you mean `base`?)",
        "threshold[0].token: the value is not an address",
        "threshold[0].below: `1.5` is no amount",
        "threshold[1].above: is there beside below",
        "threshold[2].below: is missing",
        "reaction[0].name: is that of another webhook too",
        "reaction[0].on: is missing",
        "reaction[0].type: `activity.done` cannot be used",
        "reaction[0].types: is not a key",
    ] {
        assert!(problems.iter().any(|line| line.contains(expected)), "{expected}: {problems:#?}");
    }
}
