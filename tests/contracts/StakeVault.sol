// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// The least a stake vault must do for an indexer. It holds nothing: for tests only.
contract StakeVault {
    event Staked(address indexed developer, uint256 amount);

    function stake(uint256 amount) external {
        emit Staked(msg.sender, amount);
    }

    /// Several logs in one transaction.
    function stakeMany(uint256[] calldata amounts) external {
        for (uint256 i = 0; i < amounts.length; i++) {
            emit Staked(msg.sender, amounts[i]);
        }
    }
}
