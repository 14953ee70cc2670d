use chainflume_outbox::Position;

/// Messages that a client does not get, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Position of the last message that it has.
    pub from: Position,
    /// Position after which it continues.
    pub to: Position,
    /// Why the messages are missing.
    pub reason: Reason,
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They were deleted from the outbox.
    Retention,
    /// The position is of another history: the database was restored, or is another one.
    Epoch,
}

impl Reason {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Epoch => "epoch",
        }
    }
}

impl Gap {
    /// `{"from":…,"to":…,"reason":…}`
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "from": self.from.to_string(), "to": self.to.to_string(), "reason": self.reason.as_str()
        })
    }
}
