/// A chain that `init` knows by name, so that its numbers need no look-up.
pub(super) struct KnownChain {
    pub name: &'static str,
    pub chain_id: u64,
    /// As the configuration writes it.
    pub block_time: &'static str,
}

/// Ids as on chainlist.org; block times as the chains' own documentation gives them.
pub(super) const KNOWN_CHAINS: [KnownChain; 9] = [
    KnownChain { name: "mainnet", chain_id: 1, block_time: "12s" },
    KnownChain { name: "sepolia", chain_id: 11_155_111, block_time: "12s" },
    KnownChain { name: "optimism", chain_id: 10, block_time: "2s" },
    KnownChain { name: "base", chain_id: 8453, block_time: "2s" },
    KnownChain { name: "base-sepolia", chain_id: 84_532, block_time: "2s" },
    KnownChain { name: "arbitrum", chain_id: 42_161, block_time: "250ms" },
    KnownChain { name: "arbitrum-sepolia", chain_id: 421_614, block_time: "250ms" },
    KnownChain { name: "polygon", chain_id: 137, block_time: "2s" },
    KnownChain { name: "gnosis", chain_id: 100, block_time: "5s" },
];
