//! Each provider's signatures as Python makes them (`fixtures/sign.py`), and everything that is nearly one.

use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::*;

const MAX_BODY: usize = 1 << 20;

/// A delivery that Python signed.
#[derive(Clone, Debug)]
struct Vector {
    name: String,
    provider: InboundProvider,
    secret: InboundSecret,
    headers: Headers,
    body: Vec<u8>,
    plain: Vec<u8>,
    now: u64,
}

impl Vector {
    fn read(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().expect("a text").to_owned();
        let bytes = |name: &str| BASE64.decode(text(name)).expect("base64");
        let provider = match &*text("provider") {
            "coinbase" => InboundProvider::Coinbase,
            "alchemy" => InboundProvider::Alchemy,
            "quicknode" => InboundProvider::QuickNode,
            "moralis" => InboundProvider::Moralis,
            "standard" => InboundProvider::Standard,
            "hmac" => InboundProvider::Hmac("x-signature".to_owned()),
            other => panic!("{other}"),
        };
        let header = |(name, value): (&String, &Value)| {
            (name.clone(), value.as_str().expect("text").as_bytes().to_vec())
        };
        Self {
            name: text("name"),
            secret: InboundSecret::read(&provider, &text("secret")).expect("a secret"),
            provider,
            headers: value["headers"].as_object().expect("headers").iter().map(header).collect(),
            body: bytes("body"),
            plain: bytes("plain"),
            now: value["now"].as_u64().expect("seconds"),
        }
    }

    fn check(&self) -> Result<VerifiedDelivery<'_>, SignatureRefusal> {
        self.check_with(std::slice::from_ref(&self.secret))
    }

    fn check_with(&self, secrets: &[InboundSecret]) -> Result<VerifiedDelivery<'_>, SignatureRefusal> {
        let request =
            SignedRequest { headers: &self.headers, body: &self.body, now: self.now, max_body: MAX_BODY };
        verify(&self.provider, secrets, &request)
    }

    fn has_time(&self) -> bool {
        use InboundProvider::{Coinbase, QuickNode, Standard};
        matches!(self.provider, Coinbase | QuickNode | Standard)
    }

    /// The header of the signature.
    fn signature(&self) -> &'static str {
        match self.provider {
            InboundProvider::Coinbase => "x-hook0-signature",
            InboundProvider::Alchemy => "x-alchemy-signature",
            InboundProvider::QuickNode => "x-qn-signature",
            InboundProvider::Moralis | InboundProvider::Hmac(_) => "x-signature",
            InboundProvider::Standard => "webhook-signature",
        }
    }

    fn with_header(&self, name: &str, value: &[u8]) -> Self {
        let mut changed = self.clone();
        changed.headers.insert(name.to_owned(), value.to_vec());
        changed
    }

    fn header(&self, name: &str) -> String {
        String::from_utf8(self.headers[name].clone()).expect("text")
    }
}

const VECTORS: &str = include_str!("fixtures/vectors.json");

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("JSON");
    vectors.iter().map(Vector::read).collect()
}

fn named(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).expect("a vector of this name")
}

#[test]
fn vectors_are_what_python_makes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/verify/fixtures/sign.py");
    let made = Command::new("python3").args([script, "--print"]).output();
    let made = made.expect("Python is installed (apt-get install python3)");
    assert_eq!(String::from_utf8_lossy(&made.stderr), "");
    assert_eq!(
        String::from_utf8(made.stdout).expect("text"),
        VECTORS,
        "run {script} and look at the difference"
    );
}

#[test]
fn what_each_provider_signs_is_verified() {
    for vector in vectors() {
        let verified = vector.check().unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(&*verified.body, &*vector.plain, "{}", vector.name);
        let id = match vector.name.as_str() {
            "coinbase with both versions" | "coinbase with v1" => "evt-17".to_owned(),
            "alchemy" => "whevt_9".to_owned(),
            name if name.starts_with("quicknode") => "b1946ac92492d234".to_owned(),
            name if name.starts_with("standard") => "msg_2".to_owned(),
            "moralis" => verified.id.clone(),
            _ => digest_of(&vector.plain),
        };
        assert_eq!(verified.id, id, "{}", vector.name);
    }
}

#[test]
fn a_flipped_bit_of_body_or_signature_is_refused() {
    for vector in vectors() {
        for at in 0..vector.body.len() {
            let mut flipped = vector.clone();
            flipped.body[at] ^= 1 << (at % 8);
            // gzip keeps bytes that do not change what is inside: flags, time and system of its head.
            let same = vector.headers.contains_key("content-encoding")
                && gzip::inflate(&flipped.body, MAX_BODY).is_ok_and(|body| body == vector.plain);
            assert_eq!(flipped.check().is_ok(), same, "{} at {at}", vector.name);
        }
        let name = vector.signature();
        let signature = vector.headers[name].clone();
        // Of several signatures one is enough, and v0 is right where v1 is no longer called v1.
        let untouched = match vector.name.as_str() {
            "standard among other signatures" => signature.len() - 47,
            "coinbase with both versions" => signature.len() - 64,
            _ => 0,
        };
        for at in untouched..signature.len() {
            let mut flipped = signature.clone();
            flipped[at] ^= 1 << (at % 7);
            let is_same_hex =
                flipped[at].eq_ignore_ascii_case(&signature[at]) && flipped[at].is_ascii_hexdigit();
            if !is_same_hex {
                let is_refused = vector.with_header(name, &flipped).check().is_err();
                assert!(is_refused, "{} at {at}: {}", vector.name, String::from_utf8_lossy(&flipped));
            }
        }
    }
}

#[test]
fn what_is_cut_short_or_longer_is_refused() {
    for vector in vectors() {
        let name = vector.signature();
        let signature = vector.headers[name].clone();
        for length in 0..signature.len() {
            let is_verified = vector.with_header(name, &signature[..length]).check().is_ok();
            // Of several signatures one is left, and v0 stays whole where v1 is cut off with all that names it.
            let is_v0 = vector.name == "coinbase with both versions" && length == 80;
            assert_eq!(is_verified, is_v0, "{} to {length}", vector.name);
        }
        assert!(vector.with_header(name, &[&*signature, b"0"].concat()).check().is_err(), "{}", vector.name);
        assert!(vector.with_header(name, b"").check().is_err(), "{}", vector.name);
        assert!(vector.with_header(name, b"\xff\xfe").check().is_err(), "{}", vector.name);
        assert!(vector.with_header(name, &[b'a'; 5 << 10]).check().is_err(), "{}", vector.name);
        let mut without = vector.clone();
        without.headers.remove(name);
        assert_eq!(without.check(), Err(SignatureRefusal::Missing), "{}", vector.name);
        let mut longer = vector.clone();
        longer.body.push(b' ');
        assert!(longer.check().is_err(), "{}", vector.name);
        if !vector.body.is_empty() {
            let mut shorter = vector.clone();
            shorter.body.pop();
            assert!(shorter.check().is_err(), "{}", vector.name);
        }
    }
}

#[test]
fn an_old_delivery_is_stale_where_the_scheme_has_a_time() {
    for vector in vectors() {
        for (seconds, is_fresh) in [(-301, false), (-300, true), (300, true), (301, false), (86_400, false)] {
            let mut late = vector.clone();
            late.now = late.now.checked_add_signed(seconds).expect("in range");
            let expected = is_fresh || !vector.has_time();
            assert_eq!(late.check().is_ok(), expected, "{} {seconds}", vector.name);
        }
    }
    let vector = named("quicknode plain");
    for (seconds, words) in [
        (301, "the timestamp is 301 s old by the clock of this machine, and 300 s are allowed"),
        (-3_600, "the timestamp is 3600 s ahead of the clock of this machine, and 300 s are allowed"),
    ] {
        let mut late = vector.clone();
        late.now = late.now.checked_add_signed(seconds).expect("in range");
        assert_eq!(late.check().map_err(|refusal| refusal.to_string()), Err(words.to_owned()));
    }
    for time in
        ["+1760000000", "01760000000", "1760000000.0", "0x68e7a800", "-5", "99999999999999999999999", " "]
    {
        let odd = vector.with_header("x-qn-timestamp", time.as_bytes());
        assert_eq!(odd.check(), Err(SignatureRefusal::Malformed), "{time}");
    }
}

#[test]
fn either_of_two_secrets_is_enough_and_another_is_not() {
    for vector in vectors() {
        let text = match vector.provider {
            InboundProvider::Standard => "whsec_YW5vdGhlciBzZWNyZXQgYWx0b2dldGhlcg==",
            _ => "another secret altogether",
        };
        let other = InboundSecret::read(&vector.provider, text).expect("a secret");
        let own = &vector.secret;
        assert!(vector.check_with(&[own.clone(), other.clone()]).is_ok(), "{}", vector.name);
        assert!(vector.check_with(&[other.clone(), own.clone()]).is_ok(), "{}", vector.name);
        assert_eq!(vector.check_with(&[other]), Err(SignatureRefusal::Mismatch), "{}", vector.name);
        assert_eq!(vector.check_with(&[]), Err(SignatureRefusal::Mismatch), "{}", vector.name);
    }
}

#[test]
fn of_coinbase_only_v1_counts_where_both_are_there() {
    let vector = named("coinbase with both versions");
    let signature = vector.header("x-hook0-signature");
    let (before, v1) = signature.split_once("v1=").expect("v1");
    let wrong = format!("{before}v1={}", v1.replace(['0', '1', '2'], "f"));
    let wrong = vector.with_header("x-hook0-signature", wrong.as_bytes());
    assert_eq!(wrong.check(), Err(SignatureRefusal::Mismatch), "a right v0 does not help");
    let moved = vector.with_header("x-event-id", b"evt-18");
    assert_eq!(moved.check(), Err(SignatureRefusal::Mismatch), "a signed header cannot be changed");
    let twice = format!("{signature},t=1760000000");
    assert_eq!(
        vector.with_header("x-hook0-signature", twice.as_bytes()).check(),
        Err(SignatureRefusal::Malformed)
    );
    // Without v1 the event's id is not signed, so it names nothing.
    let alone = named("coinbase with v0 alone");
    let id = |vector: &Vector| vector.check().expect("v0 is right").id;
    assert_eq!(id(&alone), id(&alone.with_header("x-event-id", b"evt-99")));
}

#[test]
fn a_compressed_body_is_opened_within_its_bound() {
    let vector = named("quicknode compressed");
    let compressed = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    };
    let bomb = Vector { body: compressed(&vec![0; 64 << 20]), ..vector.clone() };
    assert!(bomb.body.len() < MAX_BODY);
    assert_eq!(bomb.check(), Err(SignatureRefusal::TooLarge));
    let largest = Vector { body: compressed(&vec![0; MAX_BODY]), ..vector.clone() };
    assert_eq!(largest.check(), Err(SignatureRefusal::Mismatch), "it is opened, and not signed");
    let plain = Vector { body: vector.plain.clone(), ..vector.clone() };
    assert_eq!(plain.check(), Err(SignatureRefusal::Encoding));
    assert!(vector.with_header("content-encoding", b"GZIP").check().is_ok(), "names of codings ignore case");
    let other = vector.with_header("content-encoding", b"br");
    assert_eq!(other.check(), Err(SignatureRefusal::Encoding));
    let large = Vector { body: vec![b' '; MAX_BODY + 1], ..vector };
    assert_eq!(large.check(), Err(SignatureRefusal::TooLarge));
}

#[test]
fn a_repeat_of_moralis_has_the_id_of_the_first_try() {
    let vector = named("moralis");
    let id = |body: &str| {
        let signature = keccak256([body.as_bytes(), &vector.secret.0].concat());
        let sent = vector.with_header("x-signature", signature.to_string().as_bytes());
        Vector { body: body.as_bytes().to_vec(), ..sent }.check().expect("signed").id
    };
    assert_eq!(id(r#"{"a":1,"retries":0}"#), id(r#"{"a":1,"retries":3}"#));
    assert_ne!(id(r#"{"a":1,"retries":0}"#), id(r#"{"a":2,"retries":0}"#));
}

#[test]
fn a_secret_is_read_and_never_shown() {
    let standard = InboundProvider::Standard;
    assert!(InboundSecret::read(&standard, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").is_ok());
    for text in ["", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "whsec_AAEC", "whsec_!"] {
        assert!(InboundSecret::read(&standard, text).is_err(), "{text}");
    }
    assert!(InboundSecret::read(&InboundProvider::Alchemy, "").is_err());
    let secret = InboundSecret::read(&InboundProvider::Alchemy, "hunter2-hunter2").expect("long enough");
    assert_eq!(format!("{secret:?}"), "InboundSecret(…)");
}

#[test]
fn a_delivery_of_standard_webhooks_is_cut_in_one_way() {
    let vector = vectors().into_iter().find(|vector| vector.provider == InboundProvider::Standard);
    let mut vector = vector.expect("a vector");
    let time = vector.now.to_string();
    let signature = vector.secret.hmac(&[format!("a.{time}.{time}.{{}}").as_bytes()]).finalize();
    let signature = format!("v1,{}", BASE64.encode(signature.into_bytes()));
    let mut check = |id: &str, body: &str| {
        vector.body = body.as_bytes().to_vec();
        vector
            .with_header("webhook-signature", signature.as_bytes())
            .with_header("webhook-timestamp", time.as_bytes())
            .with_header("webhook-id", id.as_bytes())
            .check()
            .map(|_| ())
    };
    assert_eq!(check("a", &format!("{time}.{{}}")), Ok(()));
    assert_eq!(check(&format!("a.{time}"), "{}"), Err(SignatureRefusal::Malformed), "the same bytes");
}

#[test]
fn a_body_may_have_as_many_bytes_as_are_allowed() {
    let secret = InboundSecret::read(&InboundProvider::Alchemy, "a secret of the tests").expect("a secret");
    let checked = |bytes: usize| {
        let body = vec![b' '; bytes];
        let signature = alloy_primitives::hex::encode(secret.hmac(&[&body]).finalize().into_bytes());
        let headers = [("x-alchemy-signature".to_owned(), signature.into_bytes())].into();
        let request = SignedRequest { headers: &headers, body: &body, now: 0, max_body: MAX_BODY };
        verify(&InboundProvider::Alchemy, std::slice::from_ref(&secret), &request).map(|_| ())
    };
    assert_eq!((checked(MAX_BODY), checked(MAX_BODY + 1)), (Ok(()), Err(SignatureRefusal::TooLarge)));
}
