use alloy_primitives::U256;

use super::address::address;
use super::chain::ChainDraft;
use super::problem::Fault;
use super::reader::Text;
use super::schedule::event_type;
use super::section::Section;
use super::words::dashed_name;
use chainflume_core::domain::Address;
use chainflume_publish::trigger::{ALERTS, BalanceLimit, LimitSide, Threshold};

/// What is known of a `[[threshold]]`, whole or not.
pub(super) struct ThresholdDraft {
    pub name: Option<Text>,
    pub chain: Option<Text>,
    token: Option<Address>,
    limit: Option<(LimitSide, U256)>,
    event_type: Option<String>,
}

impl ThresholdDraft {
    /// The threshold, with the id of its chain; `None` where something is wrong with it.
    pub fn threshold(self, chains: &[ChainDraft]) -> Option<Threshold> {
        let (side, amount) = self.limit?;
        let chain = self.chain?.value;
        let is_this = |draft: &&ChainDraft| draft.name.as_ref().is_some_and(|name| name.value == chain);
        let chain_id = chains.iter().find(is_this)?.chain_id.as_ref()?.value;
        let default = match side {
            LimitSide::Below => "account.balance.low",
            LimitSide::Above => "account.balance.high",
        };
        Some(Threshold {
            name: self.name?.value,
            limit: BalanceLimit { chain_id, token: self.token?, side, amount },
            event_type: self.event_type.unwrap_or_else(|| default.to_owned()),
        })
    }
}

const REQUIRED: [(&str, &str); 3] = [
    ("name", "add name = \"…\", which its events have, and the name in metrics"),
    ("chain", "add chain = \"…\", the name of a [[chain]]"),
    ("token", "add token = \"0x…\", the address of the token"),
];

pub(super) fn read(section: &Section<'_>) -> ThresholdDraft {
    section.require(&REQUIRED);
    let name = section.parsed("name", threshold_name);
    let chain = section.text("chain");
    let token = section.parsed("token", address).map(|token| token.value);
    let (below, above) = (section.parsed("below", amount), section.parsed("above", amount));
    let limit = match (below, above) {
        (Some(below), None) => Some((LimitSide::Below, below.value)),
        (None, Some(above)) => Some((LimitSide::Above, above.value)),
        (Some(_), Some(_)) => {
            section.report("above", Fault::new("is there beside below", "write a [[threshold]] for each"));
            None
        }
        (None, None) if section.text("below").is_none() && section.text("above").is_none() => {
            section.report(
                "below",
                Fault::new("is missing", "add below = \"…\" or above = \"…\", in base units"),
            );
            None
        }
        (None, None) => None,
    };
    let event_type = section.parsed("type", event_type).map(|found| found.value);
    section.finish();
    ThresholdDraft { name, chain, token, limit, event_type }
}

fn threshold_name(text: &str) -> Result<String, Fault> {
    match dashed_name(text)? {
        name if name == ALERTS => {
            Err(Fault::new("is the name of people's own limits in metrics", "choose another name"))
        }
        name => Ok(name),
    }
}

fn amount(text: &str) -> Result<U256, Fault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text);
    let amount = digits.and_then(|digits| U256::from_str_radix(digits, 10).ok());
    amount.ok_or_else(|| {
        Fault::new("is no amount", "write the base units of the token in decimal digits: \"5000000\"")
    })
}
