//! What a real node will not do on command, on the development chain. Each scenario asserts the whole story
//! (see `support/story.rs`) and that in the end every table equals the chain and a fresh sync of it.

mod depth;
mod finality;
mod joins;
mod lies;
mod live;
mod ranges;
mod refusals;
mod reorgs;
mod seams;
mod second_thoughts;
mod stops;
mod strangers;
mod syncing;
mod wakes;
mod width;

/// `eth_getLogs`.
const LOGS: &str = "eth_getLogs";
/// `eth_getBlockByNumber`.
const BLOCK: &str = "eth_getBlockByNumber";

/// Keys for history: so many questions at once, of so many blocks each, and each answer a commit.
fn history(in_flight: u64, width: u64) -> String {
    let keys = format!("ranges_in_flight = {in_flight}\ninitial_range = {width}\nmax_range = {width}\n");
    format!("[chain.history]\ncommit_logs = 0\n{keys}")
}

/// The story of ranges of `width` blocks of branch `a` from genesis up to `to`.
fn ranges(width: u64, to: u64) -> Vec<String> {
    let ends: Vec<u64> = (1..).map(|n| n * width - 1).take_while(|end| *end < to).chain([to]).collect();
    let first = format!("all: up to a{}", ends[0]);
    let rest = ends.windows(2).map(|pair| format!("all: a{} to a{}", pair[0], pair[1]));
    std::iter::once(first).chain(rest).collect()
}
