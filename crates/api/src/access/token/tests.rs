use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes and more";
const NOW: u64 = 1_900_000_000;
/// Made once with `openssl genrsa` and `openssl dgst -sha256 -sign`; the private key was deleted.
const RSA_PEM: &str = include_str!("../fixtures/rsa.pem");
const RS256: &str = include_str!("../fixtures/rs256.jwt");

fn parts(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = parts(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn hs256(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}

fn claims() -> Value {
    json!({ "sub": "7", "exp": NOW + 60 })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn shared() -> Verifier {
    Verifier { keys: vec![VerifyingKey::from_secret(SECRET).expect("long enough")], ..Verifier::default() }
}

fn pem(prefix: &[u8], point: &[u8]) -> String {
    let der = [prefix, point].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn of_pem(text: &str) -> Verifier {
    Verifier { keys: vec![VerifyingKey::from_pem(text).expect("a public key")], ..Verifier::default() }
}

#[test]
fn a_token_names_its_user_until_it_expires() {
    let rooms = json!(["order-7", "event-*"]);
    let all = json!({ "sub": "7", "exp": NOW + 60, "iat": NOW, "jti": "t", "role": "seller", "scope": "read x", "rooms": rooms });
    let user = shared().verify(&hs256(&all), NOW).expect("it is valid");
    assert_eq!((&*user.id, &*user.role, user.expires_at), ("7", "seller", NOW + 60));
    assert_eq!((user.issued_at, user.token_id.as_deref(), user.rooms.len()), (Some(NOW), Some("t"), 2));
    let user = shared().verify(&hs256(&claims()), NOW + 59).expect("it is valid");
    assert_eq!((&*user.role, user.issued_at, user.rooms.len()), ("user", None, 0));
    assert_eq!(shared().verify(&hs256(&claims()), NOW + 60), Err(TokenError::Expired));
    // RFC 7519 allows fractions of seconds.
    let user = shared().verify(&hs256(&with("exp", json!(1_900_000_000.9))), NOW - 1).expect("it is valid");
    assert_eq!(user.expires_at, NOW);
    let user =
        shared().verify(&hs256(&with("exp", json!(1_900_000_000.999_9))), NOW - 1).expect("it is valid");
    assert_eq!(user.expires_at, NOW, "it is rounded down");
}

#[test]
fn every_algorithm_is_checked_with_a_key_of_its_own() {
    let user = of_pem(RSA_PEM).verify(RS256, NOW).expect("it is valid");
    assert_eq!((&*user.id, user.expires_at), ("7", 4_102_444_800));

    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key");
    let prefix: &[u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let text = parts(&json!({ "alg": "ES256" }), &claims());
    let signature = pair.sign(&random, text.as_bytes()).expect("signed");
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert!(of_pem(&pem(prefix, pair.public_key().as_ref())).verify(&token, NOW).is_ok());

    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let prefix: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let text = parts(&json!({ "alg": "EdDSA" }), &claims());
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes())));
    let verifier = of_pem(&pem(prefix, pair.public_key().as_ref()));
    assert!(verifier.verify(&token, NOW).is_ok());
    assert_eq!(verifier.verify(RS256, NOW), Err(TokenError::Algorithm));
    assert_eq!(shared().verify(&token, NOW), Err(TokenError::Algorithm));
}

#[test]
fn unsigned_tokens_and_keys_of_another_kind_are_refused() {
    for alg in ["none", "None", "NONE", "", "hs256", "HS384", "RS256", "ES256", "EdDSA"] {
        let header = json!({ "alg": alg });
        let unsigned = format!("{}.", parts(&header, &claims()));
        assert_eq!(shared().verify(&unsigned, NOW), Err(TokenError::Algorithm), "{alg}");
        assert_eq!(
            shared().verify(&signed(&header, &claims(), SECRET), NOW),
            Err(TokenError::Algorithm),
            "{alg}"
        );
    }
    // The public key, which is known to all, must not serve as a secret of HS256.
    let confused = signed(&json!({ "alg": "HS256" }), &claims(), RSA_PEM.as_bytes());
    assert_eq!(of_pem(RSA_PEM).verify(&confused, NOW), Err(TokenError::Algorithm));
    for critical in [json!(["b64"]), json!([]), json!(null)] {
        let header = json!({ "alg": "HS256", "crit": critical, "b64": false });
        assert_eq!(shared().verify(&signed(&header, &claims(), SECRET), NOW), Err(TokenError::Algorithm));
    }
    assert_eq!(
        shared().verify(&signed(&json!({ "alg": "HS256" }), &claims(), &[1; 40]), NOW),
        Err(TokenError::Signature)
    );
}

#[test]
fn what_an_issuer_signs_for_another_purpose_is_no_access_token() {
    let judged = |typ: &str| {
        let header = json!({ "alg": "HS256", "typ": typ });
        shared().verify(&signed(&header, &claims(), SECRET), NOW).map(|user| user.id)
    };
    for typ in ["JWT", "jwt", "at+jwt", "application/at+JWT"] {
        assert_eq!(judged(typ), Ok("7".to_owned()), "{typ}");
    }
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "", "JWT2", "application/json"] {
        assert_eq!(judged(typ), Err(TokenError::Algorithm), "{typ}");
    }
}

#[test]
fn a_user_reads_back_from_the_own_claims() {
    let all = json!({ "sub": "7 \u{e4}", "exp": NOW + 60, "iat": NOW, "jti": "t", "role": "seller", "scope": "read admin",
        "rooms": ["order-7", "event-*"] });
    for claims in [all, claims()] {
        let user = shared().verify(&hs256(&claims), NOW).expect("it is valid");
        assert_eq!(User::from_claims(&user.to_claims()), Some(user));
    }
}

#[test]
fn of_two_keys_for_one_algorithm_each_may_have_signed() {
    let mut verifier = shared();
    verifier.keys.push(VerifyingKey::from_secret(&[9; 32]).expect("long enough"));
    assert!(verifier.verify(&hs256(&claims()), NOW).is_ok());
    assert!(verifier.verify(&signed(&json!({ "alg": "HS256" }), &claims(), &[9; 32]), NOW).is_ok());
}

#[test]
fn claims_of_the_wrong_type_are_not_absent() {
    let numbers = [json!("1900000060"), json!(null), json!(-1), json!([]), json!(1e300), json!(u64::MAX)];
    for (claim, values) in [
        ("exp", &numbers[..]),
        ("iat", &numbers[..]),
        ("nbf", &numbers[..]),
        ("sub", &[json!(""), json!(7), json!(null), json!("x".repeat(251)), json!("7\u{0}")]),
        ("scope", &[json!(["admin"]), json!(null)]),
        ("rooms", &[json!("event-*"), json!(["*"]), json!(["event-1", 7]), json!(vec!["event-1"; 129])]),
        ("role", &[json!(null), json!(["admin"])]),
        ("jti", &[json!(null), json!(7), json!("a\nb"), json!("")]),
        ("iss", &[json!(null), json!(7)]),
        ("aud", &[json!(null), json!([7])]),
    ] {
        for value in values {
            let token = hs256(&with(claim, value.clone()));
            assert_eq!(shared().verify(&token, NOW), Err(TokenError::Malformed), "{claim}: {value}");
        }
    }
    assert_eq!(shared().verify(&hs256(&json!({ "sub": "7" })), NOW), Err(TokenError::Malformed));
    assert_eq!(shared().verify(&hs256(&json!({ "exp": NOW + 1 })), NOW), Err(TokenError::Malformed));
    let twice = URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"7\",\"sub\":\"8\",\"exp\":{}}}", NOW + 60));
    let text = format!("{}.{twice}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag));
    assert_eq!(shared().verify(&token, NOW), Err(TokenError::Malformed));
}

#[test]
fn a_token_from_the_future_is_refused_beyond_the_clock_leeway() {
    for claim in ["iat", "nbf"] {
        assert!(shared().verify(&hs256(&with(claim, json!(NOW + 60))), NOW).is_ok());
        assert_eq!(
            shared().verify(&hs256(&with(claim, json!(NOW + 61))), NOW),
            Err(TokenError::Early),
            "{claim}"
        );
    }
}

#[test]
fn issuer_and_audience_are_compared_whole_where_configured() {
    let verifier = Verifier { issuer: Some("us".to_owned()), audience: Some("push".to_owned()), ..shared() };
    let judged = |iss: Value, aud: Value| {
        let token = hs256(&json!({ "sub": "7", "exp": NOW + 60, "iss": iss, "aud": aud }));
        verifier.verify(&token, NOW).map(|user| user.id)
    };
    assert_eq!(judged(json!("us"), json!("push")), Ok("7".to_owned()));
    assert_eq!(judged(json!("us"), json!(["other", "push"])), Ok("7".to_owned()));
    assert_eq!(judged(json!("us"), json!("push2")), Err(TokenError::Elsewhere));
    assert_eq!(judged(json!("us"), json!([])), Err(TokenError::Elsewhere));
    assert_eq!(judged(json!("us/"), json!("push")), Err(TokenError::Elsewhere));
    assert_eq!(verifier.verify(&hs256(&claims()), NOW), Err(TokenError::Elsewhere));
}

#[test]
fn a_token_that_outlives_its_revocation_is_refused() {
    let verifier = Verifier { max_life: Some(100), ..shared() };
    let judged = |exp: u64, iat: Option<u64>| {
        let mut claims = json!({ "sub": "7", "exp": exp });
        iat.into_iter().for_each(|iat| claims["iat"] = json!(iat));
        verifier.verify(&hs256(&claims), NOW).map(|user| user.expires_at)
    };
    assert_eq!(judged(NOW + 60, Some(NOW - 40)), Ok(NOW + 60));
    assert_eq!(judged(NOW + 60, Some(NOW - 41)), Err(TokenError::LongLived));
    assert_eq!(judged(NOW + 100, None), Ok(NOW + 100));
    assert_eq!(judged(NOW + 101, None), Err(TokenError::LongLived));
    assert_eq!(judged(NOW + 120, Some(NOW + 30)), Err(TokenError::LongLived), "a time ahead makes no room");
    assert_eq!(judged(u64::from(u32::MAX), Some(0)), Err(TokenError::LongLived));
    assert_eq!(TokenError::LongLived.code(), "token_invalid");
    assert!(shared().verify(&hs256(&with("exp", json!(9_000_000_000_000_u64))), NOW).is_ok());
}

#[test]
fn what_is_no_token_is_malformed() {
    let good = hs256(&claims());
    let long = format!("{good}{}", "A".repeat(MAX_TOKEN_BYTES));
    let texts = ["", ".", "..", "...", "a.b.c", &good[..good.rfind('.').expect("a point")], &long];
    for text in texts.into_iter().chain([&*format!("{good}="), &*format!("{good}."), &*format!(" {good}")]) {
        assert_eq!(shared().verify(text, NOW), Err(TokenError::Malformed), "{text}");
    }
}

#[test]
fn keys_that_are_no_keys_are_refused() {
    assert_eq!(VerifyingKey::from_secret(b"secret").map(|_| ()), Err(KeyError::ShortSecret));
    let cut = RSA_PEM.replace("BEGIN PUBLIC", "BEGIN PRIVATE");
    let texts = ["", &cut, &RSA_PEM[..200], &RSA_PEM.replace("MIIB", "MIIC")];
    for text in texts.into_iter().chain([&*format!("{RSA_PEM}{RSA_PEM}"), &*pem(&[0x30, 0x80], &[1; 32])]) {
        assert_eq!(VerifyingKey::from_pem(text).map(|_| ()), Err(KeyError::NotPublic), "{text}");
    }
    assert_eq!(VerifyingKey::from_secret(RSA_PEM.as_bytes()).map(|_| ()), Err(KeyError::PemSecret));
    // `openssl genrsa 1024`: no token would ever pass.
    let small = [
        &[
            0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0, 3,
            0x81, 0x8d, 0,
        ][..],
        &[0x30, 0x81, 0x89, 2, 0x81, 0x81, 0],
        &[0xff; 128],
        &[2, 3, 1, 0, 1],
    ]
    .concat();
    assert_eq!(VerifyingKey::from_pem(&pem(&small, &[])).map(|_| ()), Err(KeyError::RsaBits));
    assert_eq!(format!("{:?}", shared().keys), "[VerifyingKey(HS256)]");
}

proptest! {
    #[test]
    fn a_token_that_was_changed_anywhere_is_refused(at in 0usize..10_000, byte in 0u8..=127) {
        for (token, verifier) in [(hs256(&claims()), shared()), (RS256.to_owned(), of_pem(RSA_PEM))] {
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).expect("ASCII");
            if changed != token {
                prop_assert!(verifier.verify(&changed, NOW).is_err(), "{}", changed);
            }
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}|[A-Za-z0-9_.=-]{0,80}", header in "\\PC{0,30}", claims in "\\PC{0,60}") {
        let _ = shared().verify(&text, NOW);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let _ = shared().verify(&format!("{signed}.AAAA"), NOW);
        let _ = VerifyingKey::from_pem(&pem(text.as_bytes(), header_bytes(&signed)));
    }
}

fn header_bytes(text: &str) -> &[u8] {
    text.as_bytes()
}
