//! Whether a node leaves all logs out: its answer is no error, but headers announce logs.

use super::reread::{RereadReport, Rereader};
use chainflume_core::domain::BlockRange;
use chainflume_node::Node;

/// Maximum number of headers: all of a short range, and enough of a long one to find logs that are usual there.
const MAX_HEADERS: u64 = 64;
/// Maximum number of blocks whose receipts are fetched. The first of them show a node that leaves logs out.
const MAX_BLOCKS: usize = 8;

impl Rereader {
    /// Compares a range for which the node returned no log with its headers, and with the receipts of those that announce logs.
    pub(super) async fn find_omissions(
        &mut self,
        node: &Node,
        source: usize,
        range: BlockRange,
        report: &mut RereadReport,
    ) {
        let filter = self.translator.filter(&[source]);
        let headers = match node.identified_headers(&sample(range)).await {
            Ok(headers) => headers,
            Err(error) => return report.doubts.push(error.to_string()),
        };
        let announced = headers.into_iter().flatten().filter(|header| node.announces(&filter, header));
        for header in announced.take(MAX_BLOCKS) {
            let number = header.block().number;
            match node.logs_by_receipts(&filter, &header).await {
                Ok(logs) if logs.is_empty() => {}
                Ok(_) => report.omitted.push(number),
                Err(error) => {
                    let doubt = format!("the header of block {number} announces logs, and {error}");
                    return report.doubts.push(doubt);
                }
            }
        }
    }
}

/// Blocks at equal distances, with both ends.
fn sample(range: BlockRange) -> Vec<u64> {
    let last = range.width() - 1;
    let step = usize::try_from(last.div_ceil(MAX_HEADERS - 1).max(1)).unwrap_or(usize::MAX);
    (0..last).step_by(step).chain([last]).map(|offset| range.from() + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_all_of_a_short_range_and_ends_of_a_long_one() {
        let of = |from, to| sample(BlockRange::new(from, to).expect("ascending"));
        assert_eq!(of(7, 7), [7]);
        assert_eq!(of(7, 9), [7, 8, 9]);
        assert_eq!(of(0, 63), (0..64).collect::<Vec<u64>>());
        let long = of(10, 1_000_000);
        assert!(long.len() <= 64 && long.len() > 60, "{}", long.len());
        assert_eq!((long.first(), long.last()), (Some(&10), Some(&1_000_000)));
    }
}
