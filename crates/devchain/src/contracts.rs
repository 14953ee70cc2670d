use alloy_primitives::{Address, B256, address, b256, keccak256};

/// `StakeVault`: `event Staked(address indexed developer, uint256 amount)`, amounts with 6 decimals.
pub const STAKE_VAULT: Address = address!("0x57a4e00000000000000000000000000000000001");
/// `DemoToken`, an ERC-20 with 6 decimals.
pub const DEMO_TOKEN: Address = address!("0xdec0de0000000000000000000000000000000020");
/// `DemoNft`, an ERC-721 with token ids 1, 2, 3 …
pub const DEMO_NFT: Address = address!("0xdec0de0000000000000000000000000000000721");

/// First topic of `Staked(address,uint256)`.
pub const STAKED: B256 = b256!("0x9e71bc8eea02a63969f509818f2dafb9254532904319f9dbda79b67bd34a5f3d");
/// First topic of `Transfer(address,address,uint256)`, of ERC-20 and ERC-721 alike.
pub const TRANSFER: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// First topic of `Approval(address,address,uint256)`, of ERC-20 and ERC-721 alike.
pub const APPROVAL: B256 = b256!("0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925");
/// First topic of `ApprovalForAll(address,address,bool)`.
pub const APPROVAL_FOR_ALL: B256 =
    b256!("0x17307eab39ab6107e8899845ad3d59bd9653f200f220920489ca2b5937696c31");
/// First topic of `ConsecutiveTransfer(uint256,uint256,address,address)`.
pub const CONSECUTIVE_TRANSFER: B256 =
    b256!("0xdeaa91b6123d068f5821d0fb0678463d1a8a6079fe8af5de3ce5e896dcf9133d");

/// Number of wallets in the generated traffic.
pub const WALLETS: u64 = 36;

/// The address of wallet `index`, the same on every chain. The generated traffic uses `0..WALLETS`.
pub fn wallet(index: u64) -> Address {
    Address::from_word(keccak256(format!("chainflume development wallet {index}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_first_topic_is_the_hash_of_its_signature() {
        assert_eq!(STAKED, keccak256("Staked(address,uint256)"));
        assert_eq!(TRANSFER, keccak256("Transfer(address,address,uint256)"));
        assert_eq!(APPROVAL, keccak256("Approval(address,address,uint256)"));
        assert_eq!(APPROVAL_FOR_ALL, keccak256("ApprovalForAll(address,address,bool)"));
        assert_eq!(CONSECUTIVE_TRANSFER, keccak256("ConsecutiveTransfer(uint256,uint256,address,address)"));
    }
}
