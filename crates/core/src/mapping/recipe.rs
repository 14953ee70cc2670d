use crate::decode::Value;
use crate::domain::{Address, Aggregate, Fact, KindIndex, Projection};

use super::problem::MapLogError;

/// How the events of one ABI declaration become facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) types: MessageTypes,
    pub(super) projection: Projection,
    /// The target of each argument, in the order of the ABI.
    pub(super) roles: Vec<ArgumentRole>,
    /// Position of an argument that is also the account, although its role is another.
    pub(super) user: Option<usize>,
}

/// The message types that an event may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MessageTypes {
    /// Always this type.
    One(String),
    /// `<family>.transfer`, `.mint` or `.burn`, by account and counterparty.
    Movement(&'static str),
}

impl MessageTypes {
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name.clone()],
            Self::Movement(family) => {
                ["transfer", "mint", "burn"].iter().map(|word| format!("{family}.{word}")).collect()
            }
        }
    }

    /// Position in `names`. A transfer from the zero address to itself is a transfer: as a mint it would also be a
    /// burn, and the supply does not change.
    fn position(&self, fact: &Fact) -> usize {
        let is_zero = |address: Option<Address>| address.is_some_and(|a| a.is_zero());
        match (self, is_zero(fact.account), is_zero(fact.counterparty)) {
            (Self::Movement(_), true, false) => 1,
            (Self::Movement(_), false, true) => 2,
            _ => 0,
        }
    }
}

/// Where an argument is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArgumentRole {
    Account,
    Counterparty,
    Amount,
    TokenId,
    /// In `args`, under this key.
    Arg(String),
}

impl Recipe {
    /// The recipe of a family for one of its events.
    pub(super) fn known(types: MessageTypes, projection: Projection, roles: &[ArgumentRole]) -> Self {
        Self { types, projection, roles: roles.to_vec(), user: None }
    }

    /// The subject of messages about such events: the wallet for a stake, the token for a token's event. Otherwise it
    /// is the contract, unless the operator named the user argument.
    pub(super) fn aggregate(&self) -> Aggregate {
        let family = self.types.names().first().and_then(|name| name.split('.').next()).map(str::to_owned);
        match family.as_deref() {
            Some("stake") => Aggregate::User,
            Some("erc20") => Aggregate::Token,
            Some("erc721") => Aggregate::Nft,
            _ if self.user.is_some() || self.roles.contains(&ArgumentRole::Account) => Aggregate::User,
            _ => Aggregate::Contract,
        }
    }

    pub(super) fn keeps_args(&self) -> bool {
        self.roles.iter().any(|role| matches!(role, ArgumentRole::Arg(_)))
    }

    /// The fact without its `args`. `first_kind` is the kind of the first entry of `types`.
    pub(super) fn fact(&self, first_kind: usize, values: &[Value]) -> Result<Fact, MapLogError> {
        if values.len() != self.roles.len() {
            return Err(MapLogError::Count { expected: self.roles.len(), found: values.len() });
        }
        let mut fact = Fact {
            kind: KindIndex(first_kind),
            account: None,
            counterparty: None,
            amount: None,
            token_id: None,
            args: None,
        };
        for (position, (role, value)) in self.roles.iter().zip(values).enumerate() {
            match (role, value) {
                (ArgumentRole::Account, Value::Address(address)) => fact.account = Some(*address),
                (ArgumentRole::Counterparty, Value::Address(address)) => fact.counterparty = Some(*address),
                (ArgumentRole::Amount, Value::Uint(amount)) => fact.amount = Some(*amount),
                (ArgumentRole::TokenId, Value::Uint(token)) => fact.token_id = Some(*token),
                (ArgumentRole::Arg(_), Value::Address(address)) if self.user == Some(position) => {
                    fact.account = Some(*address);
                }
                (ArgumentRole::Arg(_), _) if self.user != Some(position) => {}
                _ => return Err(MapLogError::Type { position }),
            }
        }
        fact.kind.0 += self.types.position(&fact);
        Ok(fact)
    }
}
