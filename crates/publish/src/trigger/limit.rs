//! Limits of balances. [`LimitRule`]s are those of the configuration and those that people set. [`BalanceWatch`] reads the messages about
//! movements of tokens in their order, with the balances as they are after the last of them, and so knows each balance after each
//! block. [`judge`] finds where one crossed a limit. A crossing is undone with its block, and its event is withdrawn.

mod alerts;
mod judge;
mod movement;
mod read;
mod routes;
mod watch;
mod write;

pub use alerts::{AlertLimit, UserAlerts};
pub use judge::{BalanceStep, LimitCrossing, LimitTurn, judge};
pub use movement::Movement;
pub use routes::alert_routes;
pub use watch::{BalanceWatch, WatchSettings};

use alloy_primitives::{Address, Signed, U256};

/// What wallets have together, in base units; below zero for tokens that change balances without an event.
pub type BalanceSum = Signed<512, 8>;

/// The side of a limit on which an event is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitSide {
    /// Less than the limit.
    Below,
    /// More than the limit.
    Above,
}

impl LimitSide {
    /// The word in tables and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Above => "above",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Below, Self::Above].into_iter().find(|side| side.as_str() == word)
    }
}

/// A limit of the balance of a token: what all wallets of a person have together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceLimit {
    /// EIP-155.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// The side on which an event is published.
    pub side: LimitSide,
    /// Base units.
    pub amount: U256,
}

impl BalanceLimit {
    /// Whether a balance is on the side on which an event is published.
    pub fn is_beyond(&self, balance: BalanceSum) -> bool {
        let limit =
            BalanceSum::try_from(alloy_primitives::U512::from(self.amount)).unwrap_or(BalanceSum::MAX);
        match self.side {
            LimitSide::Below => balance < limit,
            LimitSide::Above => balance > limit,
        }
    }

    fn text(&self) -> String {
        format!("{}:{:#x}:{}:{}", self.chain_id, self.token, self.side.as_str(), self.amount)
    }
}

/// A `[[threshold]]`: a limit for the balances of all people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Its name.
    pub name: String,
    /// Its limit.
    pub limit: BalanceLimit,
    /// Type of its events.
    pub event_type: String,
}

/// What a balance is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRule {
    /// Names it with its limit: another limit is another rule.
    pub key: String,
    /// Name of the threshold; `None` for the alert of a person.
    pub threshold: Option<String>,
    /// The limit.
    pub limit: BalanceLimit,
    /// Type of the events.
    pub event_type: String,
    /// Messages after this one count.
    pub after_seq: u64,
}

impl LimitRule {
    fn of_threshold(threshold: &Threshold, after_seq: u64) -> Self {
        Self {
            key: threshold_key(threshold),
            threshold: Some(threshold.name.clone()),
            limit: threshold.limit.clone(),
            event_type: threshold.event_type.clone(),
            after_seq,
        }
    }

    fn of_alert(limit: BalanceLimit, after_seq: u64) -> Self {
        Self {
            key: alert_key(&limit),
            threshold: None,
            limit,
            event_type: "alert.triggered".to_owned(),
            after_seq,
        }
    }

    /// The name in metrics.
    fn label(&self) -> &str {
        self.threshold.as_deref().unwrap_or(ALERTS)
    }
}

/// The name of people's alerts in metrics.
pub const ALERTS: &str = "alerts";

fn threshold_key(threshold: &Threshold) -> String {
    format!("threshold:{}:{}", threshold.name, threshold.limit.text())
}

fn alert_key(limit: &BalanceLimit) -> String {
    format!("alert:{}", limit.text())
}

#[cfg(test)]
mod tests;
