use serde_json::{Value, json};

/// The only namespace of this server.
const ROOT: &str = "/";

/// What a client sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientPacket {
    /// Asks to connect to a namespace, with the client's `auth`.
    Connect {
        /// Begins with a slash.
        namespace: String,
        /// `null` where the client gave none.
        auth: Value,
    },
    /// Leaves the namespace.
    Disconnect,
    /// Emits an event.
    Event(PacketEvent),
    /// An acknowledgement, which this server never asks for, or a packet of a namespace that does not exist.
    Ignored,
}

/// An event of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketEvent {
    /// Its name.
    pub name: String,
    /// The other arguments of `emit`, without the callback.
    pub arguments: Vec<Value>,
    /// Where the client gave a callback, the number by which it knows it.
    pub ack: Option<u64>,
}

impl ClientPacket {
    /// Reads a packet as socket.io-protocol revision 5 writes it: type, namespace and comma unless it is `/`, number of the
    /// acknowledgement, JSON. `None` for anything else, and for packets with binary attachments, which this server does not take.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = *text.as_bytes().first().filter(|kind| kind.is_ascii_digit())?;
        let rest = &text[1..];
        let (namespace, rest) = match rest.split_once(',') {
            Some((namespace, rest)) if namespace.starts_with('/') => (namespace, rest),
            _ if rest.starts_with('/') => (rest, ""),
            _ => (ROOT, rest),
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, payload) = rest.split_at(digits);
        match kind {
            b'0' => {
                let auth =
                    if payload.is_empty() { Some(Value::Null) } else { serde_json::from_str(payload).ok() };
                let auth = auth.filter(|auth| number.is_empty() && (auth.is_object() || auth.is_null()))?;
                Some(Self::Connect { namespace: namespace.to_owned(), auth })
            }
            b'1' => Some(if namespace == ROOT { Self::Disconnect } else { Self::Ignored }),
            b'2' => {
                let mut arguments: Vec<Value> = serde_json::from_str(payload).ok()?;
                let name = arguments.first().and_then(Value::as_str)?.to_owned();
                arguments.remove(0);
                let ack = if number.is_empty() { None } else { Some(number.parse().ok()?) };
                let event = Self::Event(PacketEvent { name, arguments, ack });
                Some(if namespace == ROOT { event } else { Self::Ignored })
            }
            b'3' => Some(Self::Ignored),
            _ => None,
        }
    }
}

/// The answer to a CONNECT that is accepted; `sid` becomes `socket.id`. This and what follows has the engine's own type before it.
pub fn connected(sid: &str) -> String {
    format!("40{}", json!({ "sid": sid }))
}

/// The answer to a CONNECT that is refused: the client's `connect_error`, with `data.code` where there is a code.
pub fn refused(namespace: &str, code: Option<&str>, message: &str) -> String {
    let namespace = if namespace == ROOT { String::new() } else { format!("{namespace},") };
    let mut body = json!({ "message": message });
    if let Some(code) = code {
        body["data"] = json!({ "code": code });
    }
    format!("44{namespace}{body}")
}

/// The arguments of a client's callback.
pub fn ack(number: u64, answer: &Value) -> String {
    format!("43{number}[{answer}]")
}

/// Ends the namespace: the client does not connect again by itself.
pub fn disconnect() -> String {
    "41".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(name: &str, arguments: &[Value], ack: Option<u64>) -> Option<ClientPacket> {
        Some(ClientPacket::Event(PacketEvent { name: name.to_owned(), arguments: arguments.to_vec(), ack }))
    }

    #[test]
    fn packets_are_read_as_the_protocol_writes_them() {
        let connect =
            |namespace: &str, auth| Some(ClientPacket::Connect { namespace: namespace.to_owned(), auth });
        for (text, expected) in [
            ("0", connect("/", Value::Null)),
            ("0{\"token\":\"t\"}", connect("/", json!({ "token": "t" }))),
            ("0/admin,{\"a\":1}", connect("/admin", json!({ "a": 1 }))),
            ("0/admin", connect("/admin", Value::Null)),
            ("0/admin,", connect("/admin", Value::Null)),
            ("1", Some(ClientPacket::Disconnect)),
            ("1/admin,", Some(ClientPacket::Ignored)),
            ("2[\"join\",\"user-7\"]", event("join", &[json!("user-7")], None)),
            ("212[\"join\",\"a,b\"]", event("join", &[json!("a,b")], Some(12))),
            ("2/admin,1[\"join\"]", Some(ClientPacket::Ignored)),
            ("30[true]", Some(ClientPacket::Ignored)),
        ] {
            assert_eq!(ClientPacket::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for text in [
            "",
            "x",
            "\u{e4}",
            "0[1]",
            "0\"token\"",
            "01{}",
            "0{",
            "2",
            "2[]",
            "2[1]",
            "2{}",
            "2\"x\"",
            "2[\"a\"",
            "299999999999999999999[\"a\"]",
            "4{}",
            "51-[\"a\",{\"_placeholder\":true,\"num\":0}]",
            "60-1[]",
            "7",
        ] {
            assert_eq!(ClientPacket::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn answers_are_written_as_the_protocol_reads_them() {
        assert_eq!(connected("abc"), "40{\"sid\":\"abc\"}");
        assert_eq!(refused("/", Some("c"), "m"), "44{\"data\":{\"code\":\"c\"},\"message\":\"m\"}");
        assert_eq!(refused("/a", None, "m"), "44/a,{\"message\":\"m\"}");
        assert_eq!(
            (ack(7, &json!({ "ok": true })), disconnect()),
            ("437[{\"ok\":true}]".to_owned(), "41".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9]{0,3}(/[a-z]*)?,?[0-9]{0,25}\\PC{0,20}") {
            let _packet = ClientPacket::parse(&text);
        }
    }
}
