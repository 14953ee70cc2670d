//! Names of the ABI as names in SQL.

use alloy_primitives::{hex, keccak256};

use crate::domain::VIEW_NAME_BYTES;

/// `tokenId` → `token_id`, `ERC20Paused` → `erc20_paused`, `_from` → `from`.
pub(super) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (i, c) in chars.iter().enumerate() {
        let after = i.checked_sub(1).and_then(|before| chars.get(before));
        let starts_word = c.is_ascii_uppercase()
            && after.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || chars.get(i + 1).is_some_and(char::is_ascii_lowercase)
            });
        if c.is_ascii_alphanumeric() {
            if starts_word && !snake.is_empty() && !snake.ends_with('_') {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
        } else if !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
    }
    snake.truncate(snake.trim_end_matches('_').len());
    snake
}

/// Cuts `name` if it is too long, and appends a digest of `whole`, which must identify what is named.
pub(super) fn shorten(mut name: String, whole: &str) -> String {
    if name.len() > VIEW_NAME_BYTES {
        let digest = keccak256(whole.as_bytes());
        name.truncate(VIEW_NAME_BYTES - 9);
        name = format!("{name}_{}", hex::encode(&digest[..4]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_abi_become_names_of_sql() {
        let cases = [
            ("tokenId", "token_id"),
            ("_from", "from"),
            ("ERC20Paused", "erc20_paused"),
            ("ApprovalForAll", "approval_for_all"),
            ("NFTMinted", "nft_minted"),
            ("amount0Out", "amount0_out"),
            ("sqrtPriceX96", "sqrt_price_x96"),
            ("a$b__c_", "a_b_c"),
            ("$_", ""),
        ];
        for (name, snake) in cases {
            assert_eq!(snake_case(name), snake);
        }
    }

    #[test]
    fn a_long_name_keeps_its_front_and_a_digest_of_the_whole() {
        let long = "x".repeat(70);
        let short = shorten(long.clone(), "a");
        assert_eq!(short.len(), VIEW_NAME_BYTES);
        assert_ne!(short, shorten(long, "b"));
        assert_eq!(shorten("x".repeat(63), "a"), "x".repeat(63));
    }
}
