use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json, value::RawValue};

use super::args::{DeadLettersCommand, DropArgs, LettersArgs, RetryArgs, ShowArgs};
use super::exit::{Exit, Failure};
use super::output;
use super::table::table;
use crate::app::{self, Loaded, RetriedLetter, Retry};
use crate::indexer::Retried;
use crate::store::{KeptLetter, Letters};

/// Lists, shows, retries or drops dead letters.
pub(super) async fn dead_letters(loaded: &Loaded, command: &DeadLettersCommand) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List(args) => list(loaded, args).await,
        DeadLettersCommand::Show(args) => show(loaded, args).await,
        DeadLettersCommand::Retry(args) => retry(loaded, args).await,
        DeadLettersCommand::Drop(args) => drop(loaded, args).await,
    }
}

async fn list(loaded: &Loaded, args: &LettersArgs) -> anyhow::Result<()> {
    let LettersArgs { source, resolved, after, limit, json } = args;
    let which = Letters { source: source.clone(), resolved: *resolved, after: *after, limit: *limit };
    let letters = app::dead_letters(loaded, &which).await?;
    if *json {
        let letters = letters.iter().map(as_json).collect::<Result<Vec<_>, _>>()?;
        return print_json(&letters);
    }
    if letters.is_empty() {
        return output::print(b"there are none\n");
    }
    let headings = ["id", "source", "kind", "block", "attempts", "last tried", "state", "reason"];
    let mut text = table(&headings, &letters.iter().map(row).collect::<Vec<_>>());
    if let Some(last) = letters.last().filter(|_| letters.len() as u64 >= u64::from(*limit)) {
        let _ = writeln!(text, "there may be more: --after {}", last.id);
    }
    output::print(text.as_bytes())
}

fn row(letter: &KeptLetter) -> Vec<String> {
    // A reason may quote the chain at length.
    let reason: String =
        letter.reason.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    vec![
        letter.id.to_string(),
        letter.source.clone(),
        letter.kind.clone(),
        letter.place.block_number.to_string(),
        letter.attempts.to_string(),
        time(letter.last_seen),
        state(letter).to_owned(),
        reason,
    ]
}

async fn show(loaded: &Loaded, args: &ShowArgs) -> anyhow::Result<()> {
    let letter = app::dead_letter(loaded, args.id).await?;
    if args.json {
        return print_json(&as_json(&letter)?);
    }
    let mut text = format!("dead letter {} ({}), {}\n", letter.id, letter.kind, state(&letter));
    let optional = [("dropped because", letter.note.clone()), ("resolved", letter.resolved_at.map(time))];
    let always = [
        ("reason", letter.reason.clone()),
        ("chain", letter.chain_id.to_string()),
        ("source", letter.source.clone()),
        ("block/transaction/log", letter.place.to_string()),
        ("block hash", letter.block_hash.to_string()),
        ("attempts", letter.attempts.to_string()),
        ("first seen", time(letter.first_seen)),
        ("last tried", time(letter.last_seen)),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in always.into_iter().chain(optional) {
        let _ = writeln!(text, "  {name}: {value}");
    }
    let raw: Value = serde_json::from_str(&letter.raw)?;
    let _ = writeln!(text, "{raw:#}");
    output::print(text.as_bytes())
}

async fn retry(loaded: &Loaded, args: &RetryArgs) -> anyhow::Result<()> {
    let which = match &args.ids[..] {
        [] => Retry::All { source: args.source.clone() },
        ids => Retry::These(ids.to_vec()),
    };
    let (mut stored, mut tried, mut printed) = (0, 0, Ok(()));
    app::retry_dead_letters(loaded, &which, |retried| {
        tried += 1;
        stored += u64::from(retried.outcome == Retried::Stored);
        let line = if args.json { line_json(&retried) } else { line(&retried) };
        if printed.is_ok() {
            printed = output::print(line.as_bytes());
        }
    })
    .await?;
    printed?;
    if stored == tried {
        return if args.json { Ok(()) } else { output::print(format!("{stored} stored\n").as_bytes()) };
    }
    Err(Failure::new(Exit::Failed, format!("{stored} of {tried} dead letters were stored")).into())
}

fn line(retried: &RetriedLetter) -> String {
    let source = retried.letter.as_ref().map(|l| format!(" ({}, block {})", l.source, l.place.block_number));
    format!("{}{}: {}\n", retried.id, source.unwrap_or_default(), outcome(retried).1)
}

/// One object a line, so that a script can read on while it runs.
fn line_json(retried: &RetriedLetter) -> String {
    let (word, reason) = outcome(retried);
    format!("{}\n", json!({ "id": retried.id, "outcome": word, "reason": reason }))
}

fn outcome(retried: &RetriedLetter) -> (&'static str, String) {
    match (&retried.outcome, &retried.letter) {
        (Retried::Stored, _) => ("stored", "stored".to_owned()),
        (Retried::Failed(reason), _) => ("failed", format!("failed again: {reason}")),
        (Retried::Gone, Some(letter)) if letter.resolved_at.is_some() => {
            ("resolved", "was resolved before".to_owned())
        }
        (Retried::Gone, _) => {
            ("gone", "is not there; a reorg takes dead letters with their blocks".to_owned())
        }
    }
}

async fn drop(loaded: &Loaded, args: &DropArgs) -> anyhow::Result<()> {
    app::drop_dead_letter(loaded, args.id, &args.reason).await?;
    if args.json {
        return print_json(&json!({ "id": args.id, "dropped": true }));
    }
    output::print(format!("{} dropped\n", args.id).as_bytes())
}

fn state(letter: &KeptLetter) -> &'static str {
    match (letter.resolved_at, &letter.note) {
        (None, _) => "open",
        (Some(_), Some(_)) => "dropped",
        (Some(_), None) => "stored",
    }
}

fn time(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

fn as_json(letter: &KeptLetter) -> anyhow::Result<Value> {
    let raw: Box<RawValue> = RawValue::from_string(letter.raw.clone())?;
    Ok(json!({
        "id": letter.id, "state": state(letter), "kind": letter.kind, "chainId": letter.chain_id,
        "source": letter.source, "blockNumber": letter.place.block_number, "blockHash": letter.block_hash,
        "transactionIndex": letter.place.tx_index, "logIndex": letter.place.log_index, "reason": letter.reason,
        "attempts": letter.attempts, "firstSeen": letter.first_seen, "lastSeen": letter.last_seen,
        "resolvedAt": letter.resolved_at, "note": letter.note, "raw": raw,
    }))
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    output::print(format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
}
