use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::json;

use super::args::{BackfillArgs, VerifyArgs};
use super::exit::{Exit, Failure};
use super::output;
use super::progress::Reading;
use crate::app::{self, Loaded, Progress, RereadArgs, Verified};
use chainflume_core::domain::Place;
use chainflume_index::{Places, RereadReport};

/// Places that are printed; more would scroll the first away.
const SHOWN: usize = 20;

/// Adds what is missing, with a bar on a terminal.
pub(super) async fn backfill(loaded: &Loaded, args: &BackfillArgs) -> anyhow::Result<()> {
    for Verified { range, report, source } in reread(loaded, &args.reread()?).await? {
        let range = range.map_or("none".to_owned(), |range| range.to_string());
        let (added, there) = (report.missing.count, report.present);
        output::print(format!("blocks {range}: {added} events added, {there} were there\n").as_bytes())?;
        if report.differing.count > 0 {
            let (count, left) = match report.differing.count {
                1 => ("1 place".to_owned(), "which was left as it is"),
                places => (format!("{places} places"), "which were left as they are"),
            };
            let places = shown(&report.differing);
            let text =
                format!("the node returns other logs than the stored ones at {count}, {left}: {places}");
            return Err(Failure::new(Exit::Failed, text).into());
        }
        if let Some(text) = left_out(&source, &report) {
            return Err(Failure::new(Exit::Failed, text).into());
        }
        if report.agrees() && report.present == 0 {
            output::complain(&empty(&report));
        }
    }
    Ok(())
}

/// What proves that the node left logs out.
fn left_out(source: &str, report: &RereadReport) -> Option<String> {
    let proof = if report.surplus.count > 0 {
        let (count, places) = (report.surplus.count, shown(&report.surplus));
        format!("{count} stored events of these blocks are not among them: {places}")
    } else {
        let blocks: Vec<String> = report.omitted.iter().map(u64::to_string).collect();
        (!blocks.is_empty())
            .then(|| format!("the receipts of these blocks have some: {}", blocks.join(", ")))?
    };
    Some(format!(
        "the logs that the node returned for source {source} are not complete, and no event was undone: {proof}; run the \
         command again with another node, and `chainflume verify --source {source}`"
    ))
}

/// What is known of blocks without events.
fn empty(report: &RereadReport) -> String {
    const ELSEWHERE: &str = "if you expect events there, run the command again with another node";
    match report.doubts.is_empty() {
        true => format!(
            "note: the node returned no event, and no header that was looked at (64 at most) contradicts this; {ELSEWHERE}"
        ),
        false => format!(
            "warning: the node returned no event, and it is not known whether this is true: {}; {ELSEWHERE}",
            report.doubts.join("; ")
        ),
    }
}

/// Compares, and repairs where that is asked for.
pub(super) async fn verify(loaded: &Loaded, args: &VerifyArgs) -> anyhow::Result<()> {
    let found = reread(loaded, &args.reread()?).await?;
    let text = match args.json {
        true => {
            format!("{}\n", serde_json::to_string_pretty(&found.iter().map(as_json).collect::<Vec<_>>())?)
        }
        false => found.iter().map(|verified| as_text(verified, args.repair)).collect(),
    };
    output::print(text.as_bytes())?;
    if let Some(refused) = refused(&found) {
        return Err(Failure::new(Exit::Failed, refused).into());
    }
    if args.repair || found.iter().all(|verified| verified.report.agrees()) {
        return Ok(());
    }
    let text =
        "stored events differ from the chain; compare with a node you trust, then run it again with --repair";
    Err(Failure::new(Exit::Failed, text.to_owned()).into())
}

/// What a repair did not take back, and what would prove it.
fn refused(found: &[Verified]) -> Option<String> {
    let unproven: u64 = found.iter().map(|verified| verified.report.unproven.count).sum();
    if unproven == 0 {
        return None;
    }
    let places = found.iter().flat_map(|verified| &verified.report.unproven.first);
    let blocks: BTreeSet<u64> = places.map(|place| place.block_number).collect();
    let some: Vec<String> = blocks.iter().take(SHOWN).map(u64::to_string).collect();
    let more = if blocks.len() > SHOWN { ", …" } else { "" };
    let reasons: BTreeSet<&str> =
        found.iter().flat_map(|verified| &verified.report.reasons).map(String::as_str).collect();
    Some(format!(
        "{unproven} stored events were not among the provider's logs and were not taken back, since one provider's answer is no \
         proof; blocks {}{more}: {}. Add a second provider of the chain ([[chain.provider]]) or use a node that answers \
         eth_getBlockReceipts, then run it again",
        some.join(", "),
        reasons.into_iter().collect::<Vec<_>>().join("; ")
    ))
}

async fn reread(loaded: &Loaded, args: &RereadArgs) -> anyhow::Result<Vec<Verified>> {
    let reading: RefCell<Option<Reading>> = RefCell::default();
    let work = app::reread(loaded, args, |Progress { source, range, done }| match done {
        None => *reading.borrow_mut() = Some(Reading::begin(source, range)),
        Some(done) => reading.borrow_mut().iter_mut().for_each(|reading| reading.done_to(done)),
    });
    let lines = async {
        loop {
            tokio::time::sleep(Reading::EVERY).await;
            reading.borrow().iter().filter_map(Reading::line).for_each(|line| output::complain(&line));
        }
    };
    tokio::select! {
        found = work => Ok(found?),
        () = lines => unreachable!("a loop without an end"),
    }
}

fn as_text(verified: &Verified, repaired: bool) -> String {
    let Verified { source, range, report } = verified;
    let Some(range) = range else {
        return format!("{source}: none of these blocks is both final and at or above start_block\n");
    };
    let mut text = format!("{source}, blocks {range}: {} events agree\n", report.present);
    let done = |done, found| if repaired { done } else { found };
    let lines = [
        (&report.missing, done("were missing and are there now", "are missing")),
        (
            &report.surplus,
            done("were not on the chain and are taken back", "are not among the logs of the node"),
        ),
        (&report.differing, done("differed and were replaced", "differ")),
        (&report.unproven, "are not among the logs of the node, which nothing else proves, and stay"),
    ];
    for (places, what) in lines.into_iter().filter(|(places, _)| places.count > 0) {
        let _ = writeln!(text, "  {} {what}: {}", places.count, shown(places));
    }
    if report.not_followed > 0 {
        let count = report.not_followed;
        let _ = writeln!(
            text,
            "  {count} are of contracts or events that the source does not follow any more, and stay"
        );
    }
    text
}

fn as_json(verified: &Verified) -> serde_json::Value {
    let Verified { source, range, report } = verified;
    let places = |places: &Places| {
        let first: Vec<String> = places.first.iter().map(Place::to_string).collect();
        json!({ "count": places.count, "first": first })
    };
    json!({
        "source": source,
        "from": range.map(|range| range.from()),
        "to": range.map(|range| range.to()),
        "agree": report.present,
        "missing": places(&report.missing),
        "surplus": places(&report.surplus),
        "differing": places(&report.differing),
        "unproven": places(&report.unproven),
        "notFollowed": report.not_followed,
    })
}

fn shown(places: &Places) -> String {
    let first: Vec<String> = places.first.iter().take(SHOWN).map(Place::to_string).collect();
    let more = if places.count > first.len() as u64 { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use chainflume_core::domain::BlockRange;

    use super::*;

    fn places(blocks: impl IntoIterator<Item = u64>) -> Places {
        let place = |block_number| Place { block_number, tx_index: 0, log_index: 1 };
        let first: Vec<Place> = blocks.into_iter().map(place).collect();
        Places { count: first.len() as u64, first }
    }

    fn verified(report: RereadReport) -> Verified {
        Verified { source: "token".to_owned(), range: BlockRange::new(1, 9), report }
    }

    #[test]
    fn each_difference_is_a_line_and_agreement_is_none() {
        let fine = verified(RereadReport { present: 7, ..RereadReport::default() });
        assert_eq!(as_text(&fine, false), "token, blocks 1..=9: 7 events agree\n");
        let differs = verified(RereadReport {
            missing: places([1]),
            surplus: places([2, 3]),
            unproven: Places { count: 22, first: places(0..21).first },
            not_followed: 4,
            ..RereadReport::default()
        });
        let look = as_text(&differs, false);
        assert!(
            look.contains("\n  1 are missing: 1/0/1\n  2 are not among the logs of the node: 2/0/1, 3/0/1\n"),
            "{look}"
        );
        assert!(
            look.contains("19/0/1, …\n") && !look.contains("20/0/1"),
            "the first twenty are shown: {look}"
        );
        assert!(
            look.ends_with(
                "  4 are of contracts or events that the source does not follow any more, and stay\n"
            ),
            "{look}"
        );
        let done = as_text(&differs, true);
        assert!(done.contains("were missing and are there now") && done.contains("are taken back"), "{done}");
        let none = Verified { range: None, ..fine };
        assert_eq!(
            as_text(&none, true),
            "token: none of these blocks is both final and at or above start_block\n"
        );
    }

    #[test]
    fn an_incomplete_answer_is_an_error_and_an_empty_one_a_note() {
        let fine = RereadReport { present: 7, missing: places([1]), ..RereadReport::default() };
        assert_eq!(left_out("token", &fine), None);
        let surplus = RereadReport { surplus: places([5]), ..fine };
        let text = left_out("token", &surplus).expect("it is proven");
        assert!(text.contains("1 stored events of these blocks are not among them: 5/0/1;"), "{text}");
        let omitted = RereadReport { omitted: vec![3, 4], ..RereadReport::default() };
        let text = left_out("token", &omitted).expect("it is proven");
        assert!(
            text.contains("the receipts of these blocks have some: 3, 4; run the command again"),
            "{text}"
        );
        assert!(empty(&RereadReport::default()).starts_with("note: the node returned no event"));
        let doubts = vec!["no receipts".to_owned()];
        let text = empty(&RereadReport { doubts, ..RereadReport::default() });
        assert!(text.starts_with("warning: ") && text.contains("is true: no receipts; if you"), "{text}");
    }

    #[test]
    fn what_nothing_proves_is_refused_with_its_blocks_and_reasons() {
        assert_eq!(
            refused(&[verified(RereadReport { missing: places([1]), ..RereadReport::default() })]),
            None
        );
        let reasons = vec!["no receipts".to_owned()];
        let report = RereadReport { unproven: places([5, 5, 3]), reasons, ..RereadReport::default() };
        let text = refused(&[verified(report.clone()), verified(report)]).expect("it is refused");
        assert!(text.starts_with("6 stored events were not among the provider's logs"), "{text}");
        assert!(text.contains("blocks 3, 5: no receipts. Add a second provider"), "{text}");
    }
}
