//! The Merkle Patricia trie of a list, as headers commit to their receipts (Yellow Paper, appendices B, C and D). No
//! library is used: only the root of a list in memory is needed, and that is one page of code.

use alloy_primitives::{B256, keccak256};

/// RLP of a byte string.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [byte] if *byte < 0x80 => vec![*byte],
        _ => [length(bytes.len(), 0x80), bytes.to_vec()].concat(),
    }
}

/// RLP of a number: big-endian without leading zeros; zero is empty.
pub(super) fn number(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    string(&bytes[zeros..])
}

/// RLP of a list of items that are RLP already.
pub(super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    [length(payload.len(), 0xc0), payload].concat()
}

fn length(len: usize, offset: u8) -> Vec<u8> {
    if let Some(short) = u8::try_from(len).ok().filter(|len| *len < 56) {
        return vec![offset + short];
    }
    let bytes = len.to_be_bytes();
    let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    // At most 8 digits.
    let count = u8::try_from(digits.len()).unwrap_or(8);
    [vec![offset + 55 + count], digits].concat()
}

/// Root of the trie that has these values under their positions.
pub(super) fn ordered_root(values: &[Vec<u8>]) -> B256 {
    let nibbles =
        |index: usize| number(index as u64).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    let mut entries: Vec<(Vec<u8>, &[u8])> =
        values.iter().enumerate().map(|(index, value)| (nibbles(index), value.as_slice())).collect();
    entries.sort_unstable();
    keccak256(if entries.is_empty() { string(&[]) } else { node(&entries, 0) })
}

/// RLP of the node that holds all of these, whose paths agree up to `depth`. No path is a prefix of another, because
/// the first byte of an RLP number gives its length.
fn node(entries: &[(Vec<u8>, &[u8])], depth: usize) -> Vec<u8> {
    let (Some((first, value)), Some((last, _))) = (entries.first(), entries.last()) else {
        return string(&[]);
    };
    if entries.len() == 1 {
        return list(&[string(&compact(&first[depth..], LEAF)), string(value)]);
    }
    // The paths are sorted, so all of them share the common prefix of the first and the last.
    let shared = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
    if shared > 0 {
        let below = reference(&node(entries, depth + shared));
        return list(&[string(&compact(&first[depth..depth + shared], EXTENSION)), below]);
    }
    let child = |nibble: u8| {
        let from = entries.partition_point(|(path, _)| path[depth] < nibble);
        let to = entries.partition_point(|(path, _)| path[depth] <= nibble);
        if from == to { string(&[]) } else { reference(&node(&entries[from..to], depth + 1)) }
    };
    let children = (0..16).map(child).chain([string(&[])]);
    list(&children.collect::<Vec<_>>())
}

/// A node inside another: itself if it is short, else its hash.
fn reference(node: &[u8]) -> Vec<u8> {
    if node.len() < 32 { node.to_vec() } else { string(keccak256(node).as_slice()) }
}

/// The flag of a path that ends at a node with further nodes below.
const EXTENSION: u8 = 0;
/// The flag of a path that ends at a value.
const LEAF: u8 = 2;

/// Nibbles as bytes, with the flag of the path (appendix C, "hex-prefix").
fn compact(nibbles: &[u8], flag: u8) -> Vec<u8> {
    let (first, rest) = match nibbles.split_first() {
        Some((first, rest)) if nibbles.len() % 2 == 1 => ((flag + 1) << 4 | first, rest),
        _ => (flag << 4, nibbles),
    };
    let pairs = rest.chunks(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble));
    std::iter::once(first).chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::b256;

    use super::*;

    #[test]
    fn the_root_of_nothing_is_that_of_an_empty_trie() {
        let empty = b256!("0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
        assert_eq!(ordered_root(&[]), empty);
    }

    #[test]
    fn numbers_and_strings_are_encoded_as_in_the_yellow_paper() {
        assert_eq!(number(0), [0x80]);
        assert_eq!(number(0x7f), [0x7f]);
        assert_eq!(number(0x400), [0x82, 4, 0]);
        assert_eq!(list(&[string(b"cat"), string(b"dog")]), b"\xc8\x83cat\x83dog");
        assert_eq!(string(&[7; 56])[..3], [0xb8, 56, 7]);
        assert_eq!(string(&[7; 1024])[..4], [0xb9, 4, 0, 7]);
    }
}
