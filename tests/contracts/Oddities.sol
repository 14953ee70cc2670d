// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// Everything an ABI allows and few contracts do: for tests only.
contract Oddities {
    struct Leg {
        address token;
        int128 amount;
    }

    struct Order {
        address maker;
        string note;
        Leg[] legs;
    }

    // No first topic says what it is.
    event Hidden(address indexed who, uint256 value) anonymous;

    // One name, three signatures.
    event Ping(uint256 value);
    event Ping(string text);
    event Ping(address indexed who);

    // Only the hash of an indexed dynamic value is in the log.
    event Labelled(string indexed label, bytes indexed data, uint256[] indexed numbers, uint256 value);

    event Ordered(uint256 indexed id, Order order);
    event Arrays(uint256[] numbers, address[2] pair, bytes32[][] nested);
    event Signed(int256 large, int8 small);
    event Said(address indexed who, string text);

    // As CryptoKitties tells it: the topic of the standard's events, and nothing indexed.
    event Transfer(address from, address to, uint256 tokenId);

    function hide(uint256 value) external {
        emit Hidden(msg.sender, value);
    }

    function ping(uint256 value, string calldata text) external {
        emit Ping(value);
        emit Ping(text);
        emit Ping(msg.sender);
    }

    function label(string calldata text, bytes calldata data, uint256[] calldata numbers, uint256 value) external {
        emit Labelled(text, data, numbers, value);
    }

    function order(uint256 id, Order calldata what) external {
        emit Ordered(id, what);
    }

    function arrays(uint256[] calldata numbers, address[2] calldata pair, bytes32[][] calldata nested) external {
        emit Arrays(numbers, pair, nested);
    }

    function sign(int256 large, int8 small) external {
        emit Signed(large, small);
    }

    /// Any bytes as a string: a NUL, invalid UTF-8, nothing.
    function say(bytes calldata text) external {
        emit Said(msg.sender, string(text));
    }

    function transfer(address to, uint256 tokenId) external {
        emit Transfer(msg.sender, to, tokenId);
    }

    /// Any log at all, so also one that claims to be an event and is malformed.
    function raw(bytes32[] calldata topics, bytes calldata data) external {
        bytes memory copy = data;
        require(topics.length <= 4, "the EVM has LOG0 to LOG4");
        assembly {
            let from := add(copy, 32)
            let size := mload(copy)
            let topic := topics.offset
            switch topics.length
            case 0 { log0(from, size) }
            case 1 { log1(from, size, calldataload(topic)) }
            case 2 { log2(from, size, calldataload(topic), calldataload(add(topic, 32))) }
            case 3 {
                log3(from, size, calldataload(topic), calldataload(add(topic, 32)), calldataload(add(topic, 64)))
            }
            default {
                log4(
                    from,
                    size,
                    calldataload(topic),
                    calldataload(add(topic, 32)),
                    calldataload(add(topic, 64)),
                    calldataload(add(topic, 96))
                )
            }
        }
    }
}
