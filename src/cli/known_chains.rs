/// A chain that `init` knows by name, so that its numbers need no look-up.
pub(super) struct KnownChain {
    pub name: &'static str,
    pub chain_id: u64,
    /// As the configuration writes it.
    pub block_time: &'static str,
    /// Blocks below the head.
    pub confirmations: u64,
}

/// Of chains whose reorgs are short or rare, and of unknown ones.
pub(super) const CONFIRMATIONS: u64 = 2;

const fn known(name: &'static str, chain_id: u64, block_time: &'static str) -> KnownChain {
    KnownChain { name, chain_id, block_time, confirmations: CONFIRMATIONS }
}

/// Ids as on chainlist.org; block times as the chains' own documentation gives them. A development node (Anvil, Hardhat) makes a
/// block for each transaction and no other: there a log that waits for more blocks is never seen.
pub(super) const KNOWN_CHAINS: [KnownChain; 10] = [
    known("mainnet", 1, "12s"),
    known("sepolia", 11_155_111, "12s"),
    known("optimism", 10, "2s"),
    known("base", 8453, "2s"),
    known("base-sepolia", 84_532, "2s"),
    known("arbitrum", 42_161, "250ms"),
    known("arbitrum-sepolia", 421_614, "250ms"),
    known("polygon", 137, "2s"),
    known("gnosis", 100, "5s"),
    KnownChain { name: "anvil", chain_id: 31_337, block_time: "1s", confirmations: 0 },
];
