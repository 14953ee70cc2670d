use super::*;
use chainflume_api::access::{Revocation, Ticket};

async fn grants() -> Grants {
    let url = chainflume_testkit::postgres::database().await;
    let settings =
        chainflume_db::Settings { url, max_connections: 4, acquire_timeout: Duration::from_secs(30) };
    let database = Database::connect(&settings).await.expect("connects");
    database.migrate().await.expect("migrates");
    Grants::of(&database)
}

impl Grants {
    async fn run(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.pool).await.expect("the statement runs");
    }

    async fn begun(&self, this: &Repeatable<'_>) -> Begun {
        self.begin(this).await.expect("begins")
    }
}

const FIRST: Repeatable<'static> =
    Repeatable { owner: "user:7", route: "POST /v1/tickets", key: "k", body: b"{}" };

#[tokio::test]
async fn a_key_is_of_one_caller_one_route_and_one_body() {
    let grants = grants().await;
    assert_eq!(grants.begun(&FIRST).await, Begun::New);
    assert_eq!(grants.begun(&FIRST).await, Begun::Running);
    let other_body = Repeatable { body: b"{ }", ..FIRST };
    assert_eq!(grants.begun(&other_body).await, Begun::Differs, "before the first is answered");
    grants.answered(&FIRST, 201, "{\"a\":1}").await.expect("kept");
    // Of two that ran beside each other the first answer stays.
    grants.answered(&FIRST, 201, "{\"a\":2}").await.expect("kept");
    assert_eq!(grants.begun(&FIRST).await, Begun::Answered(201, "{\"a\":1}".to_owned()));
    assert_eq!(grants.begun(&other_body).await, Begun::Differs);
    for other in [
        Repeatable { owner: "user:8", ..FIRST },
        Repeatable { route: "POST /v1/revocations", ..FIRST },
        Repeatable { key: "K", ..FIRST },
    ] {
        assert_eq!(grants.begun(&other).await, Begun::New);
        grants.abandon(&other).await.expect("let go");
        assert_eq!(grants.begun(&other).await, Begun::New, "what failed may be tried again");
    }
    // What was answered is not let go by a repeat that fails.
    grants.abandon(&FIRST).await.expect("nothing");
    assert!(matches!(grants.begun(&FIRST).await, Begun::Answered(..)));
}

#[tokio::test]
async fn a_key_is_kept_for_a_day_and_without_an_answer_for_a_minute() {
    let grants = grants().await;
    assert_eq!(grants.begun(&FIRST).await, Begun::New);
    grants.run("update request_answers set began_at = now() - interval '59 seconds'").await;
    assert_eq!(grants.begun(&FIRST).await, Begun::Running);
    let other = Repeatable { body: b"other", ..FIRST };
    assert_eq!(grants.begun(&other).await, Begun::Differs);
    grants.run("update request_answers set began_at = now() - interval '61 seconds'").await;
    assert_eq!(grants.begun(&FIRST).await, Begun::Running, "a repeat is one, however late");
    assert_eq!(grants.begun(&other).await, Begun::New);
    assert_eq!(grants.begun(&FIRST).await, Begun::Differs);
    grants.abandon(&other).await.expect("let go");
    assert_eq!(grants.begun(&FIRST).await, Begun::New);
    grants.answered(&FIRST, 201, "{}").await.expect("kept");
    grants.run("update request_answers set began_at = now() - interval '23 hours 59 minutes'").await;
    grants.sweep(Duration::from_secs(1)).await.expect("sweeps");
    assert!(matches!(grants.begun(&FIRST).await, Begun::Answered(..)));
    grants.run("update request_answers set began_at = now() - interval '24 hours 1 minute'").await;
    assert_eq!(grants.begun(&Repeatable { body: b"other", ..FIRST }).await, Begun::New);
}

#[tokio::test]
async fn a_ticket_opens_once_within_a_minute_and_a_caller_has_few() {
    let grants = grants().await;
    let issue = async |owner: &str| {
        let ticket = Ticket::generate().expect("random");
        let issued = grants.issue(&Issue { ticket: &ticket, owner, content: "{}" }).await.expect("issues");
        issued.then_some(ticket)
    };
    let redeem = async |ticket: &Ticket| grants.redeem(ticket, TicketUse::Spend).await.expect("redeems");
    let one = issue("user:7").await.expect("a ticket");
    let look = async |ticket: &Ticket| grants.redeem(ticket, TicketUse::Look).await.expect("looks");
    assert_eq!([look(&one).await, look(&one).await], [Some("{}".to_owned()), Some("{}".to_owned())]);
    // Of two servers that are given it at once one gets it.
    let (first, second) = tokio::join!(redeem(&one), redeem(&one));
    assert_eq!([first, second].into_iter().flatten().collect::<Vec<_>>(), ["{}"]);
    assert_eq!((redeem(&one).await, look(&one).await), (None, None));
    let late = issue("user:7").await.expect("a ticket");
    grants.run("update tickets set expires_at = expires_at - interval '40 seconds'").await;
    let still = issue("user:7").await.expect("a ticket");
    assert_eq!(redeem(&late).await.as_deref(), Some("{}"), "it is not over yet");
    grants.run("update tickets set expires_at = expires_at - interval '60 seconds'").await;
    assert_eq!(redeem(&still).await, None);
    for _ in 0..32 {
        assert!(issue("user:7").await.is_some(), "what expired does not count");
    }
    assert!(issue("user:7").await.is_none());
    assert!(issue("user:8").await.is_some());
    grants.run("update tickets set expires_at = now()").await;
    grants.sweep(Duration::from_secs(1)).await.expect("sweeps");
    let left: i64 =
        sqlx::query_scalar("select count(*) from tickets").fetch_one(&grants.pool).await.expect("counts");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_caller_that_asks_for_many_tickets_at_once_has_few_too() {
    let grants = grants().await;
    let issue = async || {
        let ticket = Ticket::generate().expect("random");
        grants.issue(&Issue { ticket: &ticket, owner: "user:7", content: "{}" }).await.expect("issues")
    };
    let issued = futures_util::future::join_all((0..100).map(|_| issue())).await;
    assert_eq!(issued.into_iter().filter(|issued| *issued).count(), 32);
}

#[tokio::test]
async fn a_person_is_revoked_by_any_id_and_a_token_alone() {
    let grants = grants().await;
    grants.run("insert into application_users (id) values ('7'), ('9')").await;
    grants.run("insert into user_aliases (alias, user_id) values ('8', '7')").await;
    grants
        .run("insert into user_wallets (wallet, user_id) values (decode(repeat('ab', 20), 'hex'), '7')")
        .await;
    let wallet = format!("0x{}", "ab".repeat(20));
    let revoked = async |what: Revocation| {
        let (at, all) = grants.revoke(&what).await.expect("revokes");
        let stored = grants.revocations(0).await.expect("reads");
        assert!(all.iter().all(|one| stored.iter().any(|stored| stored.what == *one && stored.at == at)));
        all.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>()
    };
    let by_alias = revoked(Revocation::Subject("8".to_owned())).await;
    assert_eq!((&by_alias[..3], by_alias.len()), (["7", "8", &*wallet].map(str::to_owned).as_slice(), 4));
    // The wallet, the id of its record, and a wallet as it was written.
    for id in [wallet.clone(), by_alias[3].clone(), "7".to_owned()] {
        assert_eq!(revoked(Revocation::Subject(id)).await, by_alias);
    }
    let shouted = wallet.to_uppercase().replace("0X", "0x");
    assert_eq!(revoked(Revocation::Subject(shouted.clone())).await.last(), Some(&shouted));
    assert_eq!(revoked(Revocation::Subject("stranger".to_owned())).await, ["stranger"]);
    assert_eq!(revoked(Revocation::Token("7".to_owned())).await, ["7"]);
    let names: Vec<String> = grants
        .revocations(0)
        .await
        .expect("reads")
        .into_iter()
        .map(|one| one.what.name().to_owned())
        .collect();
    assert!(!names.contains(&"9".to_owned()), "another person's are not: {names:?}");
}
