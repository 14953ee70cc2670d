//! A real node with the contracts of `tests/contracts`, and transactions of every kind they take.

use alloy_dyn_abi::DynSolValue;
use alloy_primitives::{Address, B256, Bytes, I256, U256, keccak256};
use chainflume_devchain::TRANSFER;
use serde_json::{Value, json};

use crate::anvil::{Anvil, Contract};

/// The node and what is on it.
pub struct World {
    pub anvil: Anvil,
    /// Two, read by one source: a user's stake is a sum over both.
    pub vaults: [Contract; 2],
    pub token: Contract,
    pub nft: Contract,
    pub odd: Contract,
}

pub fn address(address: Address) -> DynSolValue {
    DynSolValue::Address(address)
}

pub fn number(number: impl TryInto<U256>) -> DynSolValue {
    DynSolValue::Uint(number.try_into().ok().expect("not negative"), 256)
}

fn numbers(numbers: &[u64]) -> DynSolValue {
    DynSolValue::Array(numbers.iter().map(|n| number(U256::from(*n))).collect())
}

fn int(number: I256, bits: usize) -> DynSolValue {
    DynSolValue::Int(number, bits)
}

fn small(number: i64, bits: usize) -> DynSolValue {
    int(I256::try_from(number).expect("it is small"), bits)
}

fn text(text: &str) -> DynSolValue {
    DynSolValue::String(text.to_owned())
}

fn bytes(bytes: &[u8]) -> DynSolValue {
    DynSolValue::Bytes(bytes.to_vec())
}

fn word(word: B256) -> DynSolValue {
    DynSolValue::FixedBytes(word, 32)
}

/// Logs no compiler makes, as topics and data, and whether each is one of ours whose bytes do not fit.
pub fn raw_logs() -> Vec<(Vec<B256>, Bytes, bool)> {
    let person = Address::repeat_byte(0x77).into_word();
    let ping = keccak256("Ping(address)");
    let said = keccak256("Said(address,string)");
    vec![
        (vec![TRANSFER], Bytes::from_static(b"short"), true),
        // An address with something above its 20 bytes.
        (vec![ping, B256::repeat_byte(0x99)], Bytes::new(), true),
        // The text would begin far behind the end.
        (vec![said, person], B256::repeat_byte(0x40).into(), true),
        // More topics than in the ABI.
        (vec![TRANSFER, person, person, person], Bytes::new(), true),
        // Of no source: no first topic, or another one.
        (vec![], Bytes::from_static(b"hello"), false),
        (vec![B256::repeat_byte(0xab)], B256::ZERO.into(), false),
    ]
}

impl World {
    /// With `arguments` for the node.
    pub async fn new(arguments: &[&str]) -> Self {
        let anvil = Anvil::start_with(arguments).await;
        let vaults = [anvil.deploy("StakeVault", &[]).await, anvil.deploy("StakeVault", &[]).await];
        let token = anvil.deploy("DemoToken", &[]).await;
        let nft = anvil.deploy("DemoNft", &[]).await;
        let odd = anvil.deploy("Oddities", &[]).await;
        Self { anvil, vaults, token, nft, odd }
    }

    /// The `index`th rich account.
    pub fn account(&self, index: usize) -> Address {
        self.anvil.accounts()[index]
    }

    /// A call in a block of its own.
    pub async fn send(&self, from: usize, to: &Contract, name: &str, arguments: &[DynSolValue]) -> Value {
        self.anvil.send(self.account(from), to, to.call(name, arguments)).await
    }

    /// Some blocks of everything; rounds differ in their numbers.
    pub async fn round(&self, round: u64) {
        self.stakes(round).await;
        self.money(round).await;
        self.collection(round).await;
        self.oddities(round).await;
        self.changes(round).await;
        self.one_block_of_many(round).await;
    }

    /// Blocks that change what the blocks before them left, so that undoing them has to bring it back.
    async fn changes(&self, round: u64) {
        let to = |index| address(self.account(index));
        let id = |n: u64| number(U256::from(10 * round + n));
        self.send(3, &self.nft, "transferFrom", &[to(3), to(1), id(1)]).await;
        self.send(9, &self.nft, "burn", &[id(2)]).await;
        self.send(1, &self.token, "approve", &[to(3), number(U256::from(77))]).await;
        self.send(2, &self.token, "approve", &[to(1), number(U256::from(round))]).await;
        self.send(5, &self.token, "transfer", &[to(7), number(U256::from(30))]).await;
        self.send(6, &self.vaults[1], "stake", &[number(U256::from(60))]).await;
        self.send(1, &self.vaults[0], "stake", &[number(U256::from(61))]).await;
        self.send(1, &self.nft, "transferFrom", &[to(1), to(4), id(1)]).await;
    }

    async fn stakes(&self, round: u64) {
        let [one, other] = &self.vaults;
        self.send(1, one, "stake", &[number(U256::from(25_000_000 + round))]).await;
        self.send(1, other, "stake", &[number(U256::from(5))]).await;
        self.send(2, one, "stakeMany", &[numbers(&[1, 2, 3 + round])]).await;
        self.send(3, other, "stake", &[number(U256::ZERO)]).await;
        // Two of them are more than 256 bits hold.
        self.send(4, one, "stake", &[number(U256::MAX)]).await;
    }

    async fn money(&self, round: u64) {
        let (token, to) = (&self.token, |index| address(self.account(index)));
        if round == 0 {
            self.send(0, token, "mint", &[to(8), number(U256::MAX >> 1)]).await;
        }
        self.send(0, token, "mint", &[to(1), number(U256::from(1_000_000 + round))]).await;
        self.send(0, token, "mint", &[to(9), number(U256::ZERO)]).await;
        self.send(1, token, "transfer", &[to(2), number(U256::from(700))]).await;
        self.send(1, token, "transfer", &[to(1), number(U256::from(11))]).await;
        self.send(2, token, "burn", &[number(U256::from(3 + round))]).await;
        self.send(1, token, "approve", &[to(4), number(U256::MAX)]).await;
        self.send(4, token, "transferFrom", &[to(1), to(6), number(U256::from(9))]).await;
        self.send(1, token, "approve", &[to(3), number(U256::from(100))]).await;
        self.send(3, token, "transferFrom", &[to(1), to(5), number(U256::from(40))]).await;
        self.send(2, token, "approve", &[to(3), number(U256::from(round))]).await;
        self.send(2, token, "approve", &[to(3), number(U256::ZERO)]).await;
    }

    async fn collection(&self, round: u64) {
        let (nft, to) = (&self.nft, |index| address(self.account(index)));
        let id = |n: u64| number(U256::from(10 * round + n));
        for n in 1..=4 {
            self.send(0, nft, "mint", &[to(1), id(n)]).await;
        }
        self.send(0, nft, "mint", &[to(5), number(U256::MAX - U256::from(round))]).await;
        self.send(1, nft, "transferFrom", &[to(1), to(2), id(1)]).await;
        self.send(2, nft, "approve", &[to(3), id(1)]).await;
        self.send(3, nft, "transferFrom", &[to(2), to(3), id(1)]).await;
        self.send(1, nft, "setApprovalForAll", &[to(9), DynSolValue::Bool(true)]).await;
        self.send(9, nft, "transferFrom", &[to(1), to(9), id(2)]).await;
        self.send(1, nft, "setApprovalForAll", &[to(9), DynSolValue::Bool(false)]).await;
        self.send(1, nft, "burn", &[id(3)]).await;
        self.send(1, nft, "burn", &[id(4)]).await;
        // What was burned may come back.
        self.send(0, nft, "mint", &[to(7), id(4)]).await;
        self.send(7, nft, "transferFrom", &[to(7), to(7), id(4)]).await;
    }

    async fn oddities(&self, round: u64) {
        let (odd, to) = (&self.odd, |index| address(self.account(index)));
        self.send(1, odd, "hide", &[number(U256::from(round))]).await;
        self.send(2, odd, "ping", &[number(U256::MAX), text("héllo \"world\" \\ 👋")]).await;
        let labelled = [text("a label"), bytes(b"\x00\xff"), numbers(&[1, 2]), number(U256::from(round))];
        self.send(3, odd, "label", &labelled).await;
        let leg = |n| DynSolValue::Tuple(vec![to(1), small(n, 128)]);
        let order = vec![to(4), text("note\0"), DynSolValue::Array(vec![leg(-7), leg(7)])];
        self.send(4, odd, "order", &[number(U256::from(round)), DynSolValue::Tuple(order)]).await;
        let nested = vec![
            DynSolValue::Array(vec![word(B256::repeat_byte(1)), word(B256::ZERO)]),
            DynSolValue::Array(vec![]),
        ];
        let pair = DynSolValue::FixedArray(vec![to(1), to(2)]);
        self.send(5, odd, "arrays", &[numbers(&[]), pair, DynSolValue::Array(nested)]).await;
        self.send(6, odd, "sign", &[int(I256::MIN, 256), small(-128, 8)]).await;
        for said in [&b"plain"[..], b"", b"nul \0 inside", b"\xff\xfe not utf-8", b"{\"hex\": \"0x00\"}"] {
            self.send(7, odd, "say", &[bytes(said)]).await;
        }
        self.send(8, odd, "transfer", &[to(9), number(U256::from(round))]).await;
        for (topics, data, _) in raw_logs() {
            let topics = DynSolValue::Array(topics.into_iter().map(word).collect());
            self.send(9, odd, "raw", &[topics, bytes(&data)]).await;
        }
    }

    /// Several transactions in one block, one of which reverts.
    async fn one_block_of_many(&self, round: u64) {
        self.anvil.set_automine(false).await;
        let [vault, _] = &self.vaults;
        let (token, nft) = (&self.token, &self.nft);
        let amount = number(U256::from(12 + round));
        let to = |index| address(self.account(index));
        let calls = [
            (1, vault, vault.call("stakeMany", &[numbers(&[7, 8])])),
            (5, vault, vault.call("stake", std::slice::from_ref(&amount))),
            (9, token, token.call("transfer", &[to(1), number(U256::MAX >> 2)])),
            (1, token, token.call("transfer", &[to(6), amount])),
            (0, nft, nft.call("mint", &[to(6), number(U256::from(10 * round + 9))])),
        ];
        for (from, contract, call) in calls {
            self.anvil.submit(self.account(from), contract, call).await;
        }
        self.anvil.mine(1).await;
        self.anvil.set_automine(true).await;
    }

    /// The transactions of the newest `depth` blocks as they were signed, with their blocks' offsets.
    pub async fn signed(&self, depth: u64) -> Vec<(Value, u64)> {
        let lowest = self.anvil.head().await + 1 - depth;
        let mut signed = Vec::new();
        for offset in 0..depth {
            let block = self.anvil.block(lowest + offset).await;
            for hash in block["transactions"].as_array().expect("a list") {
                signed.push((self.anvil.rpc("eth_getRawTransactionByHash", json!([hash])).await, offset));
            }
        }
        signed
    }
}
