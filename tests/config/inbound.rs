use chainflume_inbound::InboundProvider;

use crate::given::{Given, RIGHT};

#[test]
fn webhooks_of_providers_are_read_with_their_secrets() {
    let text = format!(
        r#"{RIGHT}
[[inbound]]
name = "coinbase"
provider = "coinbase"
secret = ["${{NEW}}", "an-old-secret"]
chain = "base"
[[inbound]]
name = "partner"
provider = "hmac"
secret = "a-secret-of-a-partner"
header = "X-Partner-Signature"
[retention]
inbound = "10d"
"#
    );
    let given = Given::default().variable("NEW_FILE", "/run/new").file("/run/new", "a-new-secret\n");
    let config = given.right(&text);
    let [coinbase, partner] = config.inbound.as_slice() else { panic!("{:?}", config.inbound) };
    assert_eq!((coinbase.chain, coinbase.secrets.len()), (Some(8453), 2));
    assert_eq!(coinbase.provider, InboundProvider::Coinbase);
    assert_eq!(partner.chain, None);
    assert_eq!(partner.provider, InboundProvider::Hmac("x-partner-signature".to_owned()));
    assert!(!format!("{config:?}").contains("secret-of-a-partner"));
    assert_eq!(config.retention.inbound.as_secs(), 864_000);
}

#[test]
fn a_webhook_without_a_right_secret_is_refused() {
    let text = format!(
        r#"{RIGHT}
[[inbound]]
name = "one"
provider = "alchemi"
secret = "long-enough"
chain = "bsae"
[[inbound]]
name = "one"
provider = "quicknode"
secret = "short"
[[inbound]]
name = "two"
provider = "moralis"
[[inbound]]
name = "three"
provider = "standard"
secret = "whsec_not base64"
header = "a b"
[[inbound]]
name = "four"
provider = "moralis"
secret = "${{MISSING}}"
[[inbound]]
name = "five"
provider = "moralis"
secret = []
[retention]
inbound = "1h"
"#
    );
    let problems = Given::default().wrong(&text);
    for expected in [
        "inbound[0].provider: `alchemi` is not known here (did you mean `alchemy`?",
        "inbound[0].chain: `bsae` is no chain of this file (did you mean `base`?)",
        "inbound[1].name: is that of another [[inbound]] too",
        "inbound[1].secret: the value is shorter than 8 bytes",
        "inbound[2].secret: is missing (add secret = \"…\", what the provider signs with",
        "inbound[3].secret: the value is not base64 after whsec_",
        "inbound[3].header: `a b` is not the name of a header",
        "inbound[4].secret: the variable MISSING is not set",
        "inbound[5].secret: does not hold one or two secrets",
        "retention.inbound: ",
    ] {
        assert!(problems.iter().any(|line| line.contains(expected)), "{expected}: {problems:#?}");
    }
    assert!(
        !problems.iter().any(|line| line.contains("not base64\"") || line.contains("`short`")),
        "{problems:#?}"
    );
}
