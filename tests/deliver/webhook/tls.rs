//! An endpoint whose certificate is of an authority that the system does not know.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Ground, webhook};
use crate::certificates::Certificates;
use crate::receiver::{Acceptor, Receiver};

const NAME: &str = "DNS:localhost";
/// Several tries a second, for longer than a test waits: no message is given up.
const STEADY: usize = 600;

fn acceptor(certificates: &Certificates) -> Acceptor {
    Arc::new(Mutex::new(certificates.acceptor()))
}

fn table(receiver: &Receiver, ca: &Certificates) -> String {
    let schedule = vec!["200ms"; STEADY];
    let more = format!("retry_schedule = {schedule:?}\nca_file = {:?}\n", ca.path("ca.crt"));
    webhook("crm", receiver, &more).replace("[\"127.0.0.1\"]", "[\"127.0.0.1\", \"localhost\"]")
}

/// Waits until deliveries fail for this reason, and checks that the place and the remedy are in it.
async fn fails(relays: &crate::relays::Relays, receiver: &Receiver, words: [&str; 2]) {
    let names = |text: &String| words.iter().all(|words| text.contains(words));
    relays.until("webhook:crm", "names the remedy", |sink| sink.last_error.as_ref().is_some_and(names)).await;
    let text = relays.sink("webhook:crm").last_error.expect("an error");
    let place = format!("webhook at localhost:{} cannot be reached: ", receiver.port());
    assert!(text.starts_with(&place) && !text.contains("canary"), "{text}");
    assert!(receiver.got().is_empty(), "nothing is sent to a server that is not trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_an_own_authority_gets_messages() {
    let certificates = Certificates::new(NAME);
    let receiver = Receiver::start_tls(acceptor(&certificates)).await;
    let ground = Ground::new(&table(&receiver, &certificates)).await;
    ground.publish("user.updated", &["a", "b"]).await;
    let relays = ground.start().await;
    ground.until_taken(&receiver, 2).await;
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_authority_is_named_and_its_correction_delivers_all() {
    let (certificates, other) = (Certificates::new(NAME), Certificates::new(NAME));
    let receiver = Receiver::start_tls(acceptor(&certificates)).await;
    let ground = Ground::new(&table(&receiver, &other)).await;
    ground.publish("user.updated", &["a", "b", "a"]).await;
    let relays = ground.start().await;
    fails(&relays, &receiver, ["UnknownIssuer", "name the file of that one in ca_file"]).await;
    relays.stop().await;
    std::fs::write(other.path("ca.crt"), certificates.ca()).expect("written");
    let relays = ground.start().await;
    ground.until_taken(&receiver, 3).await;
    relays.until_all("webhook:crm").await;
    assert_eq!((receiver.got().len(), ground.count("dead_letters").await), (3, 0), "each once");
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_a_renewed_certificate_is_served_at_once() {
    let certificates = Certificates::new("DNS:another.example");
    let accepts = acceptor(&certificates);
    let receiver = Receiver::start_tls(accepts.clone()).await;
    let ground = Ground::new(&table(&receiver, &certificates)).await;
    ground.publish("user.updated", &["a", "b"]).await;
    let relays = ground.start().await;
    fails(&relays, &receiver, ["another.example", "write that name into the url"]).await;
    certificates.renew(NAME);
    *accepts.lock().unwrap_or_else(PoisonError::into_inner) = certificates.acceptor();
    ground.until_taken(&receiver, 2).await;
    relays.until_all("webhook:crm").await;
    assert_eq!(ground.count("dead_letters").await, 0);
    relays.stop().await;
}
