use std::collections::BTreeMap;

use serde_json::{Value, json};

use chainflume_api::access::is_address;
use chainflume_outbox::addresses;

/// Names a balance: the wallet and the token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BalanceKey {
    /// EIP-155.
    pub chain_id: u64,
    /// Address of the token, lower-case.
    pub token: String,
    /// Address of the wallet, lower-case.
    pub account: String,
}

/// A balance, and the user of its wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBalance {
    /// Base units, in decimal digits.
    pub amount: String,
    /// Id of the wallet's user, if there is one.
    pub user_id: Option<String>,
    /// The sum over all wallets of the person whose wallet it is, with the application's own id of the person.
    pub total: Option<String>,
}

/// What is read from the database beside messages, at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Balances that messages changed.
    pub balances: BTreeMap<BalanceKey, KnownBalance>,
    /// The application's ids of the person of each wallet, and the other ones of the person of each id: of the application, or of a record.
    pub owners: BTreeMap<String, Vec<String>>,
}

/// Name of the event in rooms of users.
pub(super) const BALANCE_UPDATED: &str = "balance-updated";

/// Whether messages of this type and state come with changes of balances: pending ones change none.
fn changes_balances(message_type: &str, state: &str) -> bool {
    matches!(message_type, "erc20.transfer" | "erc20.mint" | "erc20.burn") && state != "pending"
}

/// The balances that a message changed: of the wallets in its payload. None where it retracts what was only pending: it comes under the
/// name that the pending message had.
pub fn changed_balances(message: &Value) -> Vec<BalanceKey> {
    let text = |key: &str| message[key].as_str().unwrap_or_default();
    let (chain_id, token) = (message["metadata"]["chainId"].as_u64(), text("aggregateId"));
    let is_counted = changes_balances(text("type"), text("state")) && text("retracts") != "pending";
    let is_known = is_counted && is_address(token);
    let Some(chain_id) = chain_id.filter(|_| is_known) else { return Vec::new() };
    let accounts = addresses(None, message["payload"].as_object()).into_iter();
    // The zero address mints and burns.
    let accounts =
        accounts.filter(|account| is_address(account) && account[2..].bytes().any(|digit| digit != b'0'));
    let key = |account: &str| BalanceKey { chain_id, token: token.to_owned(), account: account.to_owned() };
    accounts.map(key).collect()
}

/// For each user of a message, by id and by wallet, the data of the event. A person with several wallets has the sum of them.
pub(super) fn balance_events(message: &Value, lookups: &Lookups) -> Vec<(String, Value)> {
    if lookups.balances.is_empty() {
        return Vec::new();
    }
    let known = changed_balances(message).into_iter();
    let known = known.filter_map(|key| Some((lookups.balances.get(&key)?, key)));
    let events = known.flat_map(|(balance, key)| {
        let KnownBalance { amount, user_id, total } = balance;
        let owners = lookups.owners.get(&key.account).into_iter().flatten();
        let owners = owners.filter_map(|id| Some((id, total.as_ref()?)));
        let users = std::iter::once((&key.account, amount)).chain(user_id.iter().map(|id| (id, amount)));
        let data = |(user, amount): (&String, &String)| {
            let data =
                json!({ "userId": user, "balance": amount, "token": key.token, "chainId": key.chain_id });
            (user.clone(), data)
        };
        users.chain(owners).map(data).collect::<Vec<_>>()
    });
    events.collect()
}
