//! What Redis may answer, and what it means for the messages.

use std::time::Duration;

use chainflume_deliver::sink::{RedisServers, RedisSettings, RedisSink, Sink, SinkError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::contract::{envelopes, resume, settings};
use crate::redis_server::{Cut, RedisServer, Wire};
use crate::redis_sets::RedisSet;

pub async fn refusal(sink: &mut RedisSink) -> SinkError {
    sink.deliver(&envelopes(1..=10)).await.expect_err("no success")
}

/// Answers the handshake and then the same to everything.
async fn liar(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("redis://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = vec![0; 1 << 16];
            while let Ok(1..) = client.read(&mut asked).await {
                let _gone = client.write_all(answer.as_bytes()).await;
            }
        }
    });
    url
}

#[tokio::test]
async fn no_error_is_taken_for_success_and_each_names_who_must_act() {
    for (answer, transient) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", true),
        ("-BUSY Redis is busy running a script\r\n", true),
        ("-MISCONF Redis is configured to save RDB snapshots\r\n", true),
        ("-NOREPLICAS Not enough good replicas to write\r\n", true),
        ("-CLUSTERDOWN Hash slot not served\r\n", true),
        ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", true),
        ("-MOVED 3999 127.0.0.1:6381\r\n", false),
        ("-ASK 3999 127.0.0.1:6381\r\n", false),
        ("-NOAUTH Authentication required.\r\n", false),
        ("-ERR unknown command 'EVAL'\r\n", false),
        ("-WHATEVER may come\r\n", false),
    ] {
        let mut sink = RedisSink::new(settings(liar(answer).await)).expect("a url");
        let error = refusal(&mut sink).await;
        assert_eq!(error.is_transient(), transient, "{answer}: {error}");
        let word = answer.trim_start_matches('-').split(' ').next().expect("a word");
        assert!(error.to_string().contains(word), "{answer}: {error}");
        assert!(resume(&mut sink, 0).await.is_err(), "{answer}");
    }
    for answer in ["+OK\r\n", "$-1\r\n", "*0\r\n", ":1\r\n", "*2\r\n$5\r\nmaybe\r\n*0\r\n"] {
        let mut sink = RedisSink::new(settings(liar(answer).await)).expect("a url");
        refusal(&mut sink).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    let mut sink =
        RedisSink::new(RedisSettings { timeout: Duration::from_millis(200), ..settings(liar("").await) })
            .expect("a url");
    let error = tokio::time::timeout(Duration::from_secs(5), refusal(&mut sink)).await.expect("in time");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_cut_before_or_after_the_reply_doubles_nothing() {
    let server = RedisServer::start();
    let wire = Wire::to(server.port).await;
    let mut sink = RedisSink::new(settings(wire.url())).expect("a url");
    resume(&mut sink, 0).await.expect("answers");

    wire.cut(Cut::Request);
    sink.deliver(&envelopes(1..=10)).await.expect_err("it never arrived");
    assert!(server.streams().await.is_empty());
    sink.deliver(&envelopes(1..=10)).await.expect("arrives");

    wire.cut(Cut::Reply);
    sink.deliver(&envelopes(11..=20)).await.expect_err("no server answered");
    let repeated = sink.deliver(&envelopes(11..=20)).await.expect("had arrived");
    assert_eq!(repeated.repeats, (11..=20).collect::<Vec<_>>());
    assert_eq!(server.streams().await.values().map(Vec::len).sum::<usize>(), 20);
    assert_eq!(wire.cuts(), 2);
}

#[tokio::test]
async fn a_published_message_arrives_once_for_channel_and_users() {
    let server = RedisServer::start();
    let client = ::redis::Client::open(server.url()).expect("a url");
    let mut listener = client.get_async_pubsub().await.expect("connects");
    listener.psubscribe("*").await.expect("listens");
    let mut sink =
        RedisSink::new(RedisSettings { prefix: "x:".to_owned(), ..settings(server.url()) }).expect("a url");
    let (user, other) = (uuid::Uuid::from_u128(7), uuid::Uuid::from_u128(8));
    let batch: Vec<_> = envelopes(1..=3)
        .iter()
        .map(|envelope| {
            let mut envelope = (**envelope).clone();
            envelope.user_id = (envelope.seq == 2).then_some(user);
            envelope.counterparty_user_id = (envelope.seq == 2).then_some(other);
            std::sync::Arc::new(envelope)
        })
        .collect();
    sink.deliver(&batch).await.expect("takes them");
    sink.deliver(&batch).await.expect("refuses them");
    server.run::<u64>("PUBLISH end end").await;
    let mut heard = Vec::new();
    let mut messages = listener.on_message();
    while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
        if message.get_channel_name() == "end" {
            break;
        }
        heard.push(format!(
            "{} {}",
            message.get_channel_name(),
            message.get_payload::<String>().expect("text")
        ));
    }
    let channel = |seq: usize| format!("x:events:{}", batch[seq - 1].aggregate_type);
    assert_eq!(
        heard,
        [
            format!("{} {{\"seq\":1}}", channel(1)),
            format!("{} {{\"seq\":2}}", channel(2)),
            format!("x:user:{user} {{\"seq\":2}}"),
            format!("x:user:{other} {{\"seq\":2}}"),
            format!("{} {{\"seq\":3}}", channel(3)),
        ]
    );
}

#[tokio::test]
async fn streams_of_another_database_are_refused_loudly() {
    let server = RedisServer::start();
    let mut sink = RedisSink::new(settings(server.url())).expect("a url");
    sink.deliver(&envelopes(1..=100)).await.expect("takes them");
    let mut other = RedisSink::new(settings(server.url())).expect("a url");
    let mut ours = envelopes(1..=1);
    std::sync::Arc::make_mut(&mut ours[0]).json = "{\"seq\":1,\"not\":\"the same\"}".to_owned();
    let error = other.deliver(&ours).await.expect_err("is another message");
    assert!(matches!(error, SinkError::Foreign { seq: 1, .. }), "{error}");
    std::sync::Arc::make_mut(&mut ours[0]).epoch = "f".to_owned();
    let error = other.deliver(&ours).await.expect_err("the contents were not read");
    assert!(matches!(error, SinkError::Changed { .. }) && error.is_transient(), "{error}");
    other.look().await.expect("answers");
    let error = other.deliver(&ours).await.expect_err("is of another epoch");
    assert!(matches!(error, SinkError::Foreign { seq: 1, .. }), "{error}");
}

#[tokio::test]
async fn another_writer_since_the_look_is_noticed_before_appending() {
    let server = RedisServer::start();
    let mut sink = RedisSink::new(settings(server.url())).expect("a url");
    sink.deliver(&envelopes(1..=20)).await.expect("takes them");
    let theirs: Vec<_> = envelopes(21..=30)
        .into_iter()
        .map(|mut envelope| {
            std::sync::Arc::make_mut(&mut envelope).epoch = "theirs".to_owned();
            envelope
        })
        .collect();
    let mut other = RedisSink::new(settings(server.url())).expect("a url");
    other.look().await.expect("answers");
    other.deliver(&theirs).await.expect("takes them");
    let error = sink.deliver(&envelopes(31..=40)).await.expect_err("another writer was there");
    assert!(matches!(error, SinkError::Changed { .. }), "{error}");
    assert_eq!(server.streams().await.values().map(Vec::len).sum::<usize>(), 30, "nothing was appended");
}

#[tokio::test]
async fn a_number_is_no_repeat_inside_the_stream_but_below_its_first() {
    let server = RedisServer::start();
    let mut sink = RedisSink::new(settings(server.url())).expect("a url");
    let token = |seqs: &[u64]| -> Vec<_> {
        let mut all = envelopes(1..=9);
        for (envelope, seq) in all.iter_mut().zip(1..) {
            let envelope = std::sync::Arc::make_mut(envelope);
            (envelope.seq, envelope.aggregate_type) = (seq, "token".to_owned());
            envelope.json = format!("{{\"seq\":{seq}}}");
        }
        all.retain(|envelope| seqs.contains(&envelope.seq));
        all
    };
    sink.deliver(&token(&[4, 5, 8])).await.expect("takes them");
    let delivered = sink.deliver(&token(&[1, 3, 4, 5, 8])).await.expect("had them, or trimmed them");
    assert_eq!(delivered.repeats, [1, 3, 4, 5, 8]);
    let error = sink.deliver(&token(&[6, 9])).await.expect_err("it was never sent");
    assert!(matches!(error, SinkError::Foreign { seq: 6, .. }), "{error}");
    let delivered = sink.deliver(&token(&[5, 6, 9])).await;
    assert!(delivered.is_err(), "what was not sent is not counted: {delivered:?}");
}

#[tokio::test]
async fn a_stream_is_trimmed_to_about_its_length() {
    let server = RedisServer::start();
    let mut sink =
        RedisSink::new(RedisSettings { stream_length: 200, ..settings(server.url()) }).expect("a url");
    for start in (1..=5_000).step_by(500) {
        sink.deliver(&envelopes(start..=start + 499)).await.expect("takes them");
    }
    for (stream, entries) in server.streams().await {
        assert!((200..=400).contains(&entries.len()), "{stream} has {}", entries.len());
    }
    let repeated = sink.deliver(&envelopes(1..=500)).await.expect("had them");
    assert_eq!(repeated.repeats.len(), 500, "what was trimmed was there");
}

#[tokio::test]
async fn tls_and_a_user_with_few_rights_are_enough_and_needed() {
    let set = RedisSet::tls();
    let mut sink = set.sink();
    assert!(sink.check().await.expect("lets us in").starts_with("localhost:"));
    let RedisServers::Single(url) = &set.settings.servers else { unreachable!("it is one server") };
    let with = |url: String, ca: Option<Vec<u8>>, prefix: &str| {
        let prefix = prefix.to_owned();
        RedisSink::new(RedisSettings { ca, prefix, ..settings(url) }).expect("a url")
    };
    let ca = || set.settings.ca.clone();

    let error = refusal(&mut with(url.clone(), None, "")).await;
    assert!(matches!(error, SinkError::Untrusted { .. }), "an unknown authority: {error}");
    let error = refusal(&mut with(url.replace("pass~word", "hunter2"), ca(), "")).await;
    assert!(!error.is_transient() && !format!("{error} {error:?}").contains("hunter2"), "{error}");
    let error = refusal(&mut with(url.clone(), ca(), "g:")).await;
    assert!(!error.is_transient() && error.to_string().contains("NOPERM"), "{error}");
    assert!(set.servers[0].streams().await.is_empty(), "nothing is there");
}
