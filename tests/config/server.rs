use chainflume::config::AuthMode;

use super::given::{Given, RIGHT};

const SECRET: &str = "secret = \"a secret of the tests, of more than thirty-two bytes\"";
const HASH: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn wrong(tables: &str) -> String {
    Given::default().root().wrong(&format!("{RIGHT}\n{tables}")).join("\n")
}

#[test]
fn a_server_is_refused_where_anybody_could_ask_it() {
    let open = "[server.auth]\nmode = \"none\"\n";
    for listen in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
        let text = wrong(&format!("[server]\nlisten = \"{listen}\"\n{open}"));
        assert!(text.contains("server.listen: is not on the loopback"), "{text}");
    }
    for listen in ["127.0.0.1:8080", "[::1]:8080"] {
        let text = format!("{RIGHT}\n[server]\nlisten = \"{listen}\"\n{open}");
        assert_eq!(Given::default().root().right(&text).server.auth.mode, AuthMode::None);
    }
    let text = wrong("[server]\nlisten = \"127.0.0.1:8080\"");
    assert!(text.contains("server.listen: has nothing to check a credential with"), "{text}");
    let text = wrong(&format!(
        "[server]\nlisten = \"127.0.0.1:80\"\ncors_origins = [\"*\"]\n[server.auth]\n{SECRET}"
    ));
    assert!(text.contains("server.cors_origins: has `*` although credentials are checked"), "{text}");
}

#[test]
fn keys_and_origins_that_cannot_be_meant_are_refused() {
    for (tables, expected) in [
        (
            "[server.auth]\nsecret = \"short\"",
            "server.auth.secret: the value cannot be used (the secret has fewer than 32 bytes",
        ),
        ("[server.auth]\nalgorithms = [\"none\"]", "server.auth.algorithms[0]: `none` is not known here"),
        (
            "[server.auth]\npublic_key_file = \"missing.pem\"",
            "server.auth.public_key_file: `missing.pem` cannot be read",
        ),
        ("[server]\ncors_origins = [\"https://app.example/\"]", "is not an origin"),
        ("[server]\npublic_rooms = [\"user\"]", "`user` is not known here"),
        (
            "[[server.key]]\nname = \"a\"\nhash = \"sha256:00\"\nscopes = [\"read\"]",
            "is not the hash of a key",
        ),
        (&format!("[[server.key]]\nname = \"a\"\nhash = \"{HASH}\"\nscopes = [\"root\"]"), "is no scope"),
        ("[[server.key]]\nname = \"a\"", "server.key[0].hash: is missing"),
        (
            &format!("[server.auth]\nalgorithms = [\"EdDSA\"]\n{SECRET}"),
            "is for HS256, which is not among the algorithms",
        ),
    ] {
        let text = wrong(tables);
        assert!(text.contains(expected), "{tables}\n{text}");
    }
}

#[test]
fn push_rules_are_checked_at_the_start() {
    for (rule, expected) in [
        ("emit = \"a\"", "push[0].on: is missing"),
        ("on = \"erc20.*\"", "push[0].emit: is missing"),
        ("on = \"erc20\"\nemit = \"a\"", "push[0].on: `erc20` is not a type of messages"),
        ("on = \"erc20.*\"\nemit = \"message\"", "push[0].emit: `message` is a name that clients know"),
        ("on = \"erc20.*\"\nemit = \"a\"\nrooms = [\"all\"]", "push[0].rooms[0]: `all` is not a room"),
        (
            "on = \"order.*\"\nemit = \"a\"\nrooms = [\"user-{user.id}\", \"address-{payload.wallet}\"]",
            "push[0].rooms[1]: `address-{payload.wallet}` is a public room, which gets no fact of the application",
        ),
        (
            "on = \"erc20.*\"\nemit = \"a\"\npayload = { x = \"{payload\" }",
            "push[0].payload.x: `{payload` has a `{`",
        ),
        ("on = \"erc20.*\"\nemit = \"a\"\npayload = { x = \"{user.name}\" }", "there is {user.id}"),
    ] {
        let text = wrong(&format!("[[push]]\n{rule}"));
        assert!(text.contains(expected), "{rule}\n{text}");
    }
}

#[test]
fn tls_needs_a_certificate_and_its_key() {
    let base = "[server]\nlisten = \"127.0.0.1:80\"\n";
    let auth = format!("[server.auth]\n{SECRET}");
    let text = wrong(&format!("{base}tls_certificate_file = \"a.pem\"\n{auth}"));
    assert!(text.contains("server.tls_key_file: is missing"), "{text}");
    let text = wrong(&format!("{base}tls_key_file = \"a.pem\"\n{auth}"));
    assert!(text.contains("server.tls_certificate_file: is missing"), "{text}");
    let files = "tls_certificate_file = \"a.pem\"\ntls_key_file = \"b.pem\"\n";
    let read = Given::default().root().right(&format!("{RIGHT}\n{base}{files}{auth}")).server.tls;
    let read = read.expect("both are given");
    assert!(read.certificate.ends_with("a.pem") && read.key.ends_with("b.pem"), "{read:?}");
}
