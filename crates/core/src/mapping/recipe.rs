use crate::decode::Value;
use crate::domain::{Address, Aggregate, Fact, KindIndex, Projection};

use super::problem::MapLogError;

/// What becomes of the events of one ABI declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) types: MessageTypes,
    pub(super) projection: Projection,
    /// Where each argument goes, in the order of the ABI.
    pub(super) roles: Vec<ArgumentRole>,
    /// Position of the argument that is the account too, although its role is another.
    pub(super) user: Option<usize>,
}

/// The message types an event may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MessageTypes {
    /// Always this one.
    One(String),
    /// `<family>.transfer`, `.mint` or `.burn`, as account and counterparty say.
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

    /// Position in `names`. From nobody to nobody is a transfer: as a mint it would have to be a burn
    /// too, and the supply is what it was.
    fn position(&self, fact: &Fact) -> usize {
        let nobody = |address: Option<Address>| address.is_some_and(|a| a.is_zero());
        match (self, nobody(fact.account), nobody(fact.counterparty)) {
            (Self::Movement(_), true, false) => 1,
            (Self::Movement(_), false, true) => 2,
            _ => 0,
        }
    }
}

/// Where an argument is kept.
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
    /// A recipe of a family for an event it knows.
    pub(super) fn known(types: MessageTypes, projection: Projection, roles: &[ArgumentRole]) -> Self {
        Self { types, projection, roles: roles.to_vec(), user: None }
    }

    /// What messages about such events are about: a stake is about its wallet, a token's event about the
    /// token, and anything else about its contract unless the operator named the user argument.
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

    /// The fact but for its `args`. `first_kind` is the kind of the first of `types`.
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
