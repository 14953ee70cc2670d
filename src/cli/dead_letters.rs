use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json, value::RawValue};

use super::args::{DeadLettersCommand, DropArgs, LettersArgs, RetryArgs, ShowArgs};
use super::exit::{Exit, Failure};
use super::output;
use super::table::table;
use crate::app::{self, Loaded, Outcome, RetriedLetter, Retry};
use chainflume_ops::text::is_unprintable;
use chainflume_store::{DeadLetterQuery, DeadLetterSubject, StoredDeadLetter};

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
    let which = DeadLetterQuery { source: source.clone(), resolved: *resolved, after: *after, limit: *limit };
    let letters = app::dead_letters(loaded, &which).await?;
    if *json {
        let letters = letters.iter().map(as_json).collect::<Result<Vec<_>, _>>()?;
        return print_json(&letters);
    }
    if letters.is_empty() {
        return output::print(b"there are none\n");
    }
    let headings =
        ["id", "source or sink", "kind", "block or seq", "attempts", "last tried", "state", "reason"];
    let mut text = table(&headings, &letters.iter().map(row).collect::<Vec<_>>());
    if let Some(last) = letters.last().filter(|_| letters.len() as u64 >= u64::from(*limit)) {
        let _ = writeln!(text, "there may be more: --after {}", last.id);
    }
    output::print(text.as_bytes())
}

fn row(letter: &StoredDeadLetter) -> Vec<String> {
    // A reason may quote the chain at length.
    let reason: String =
        letter.reason.chars().take(80).map(|c| if is_unprintable(c) { ' ' } else { c }).collect();
    vec![
        letter.id.to_string(),
        whose(letter).to_owned(),
        letter.kind.as_str().to_owned(),
        number(letter).to_string(),
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
    let mut text = format!("dead letter {} ({}), {}\n", letter.id, letter.kind.as_str(), state(&letter));
    let optional = [("dropped because", letter.note.clone()), ("resolved", letter.resolved_at.map(time))];
    let about = match &letter.about {
        DeadLetterSubject::Log(log) => vec![
            ("chain", log.chain_id.to_string()),
            ("source", log.source.clone()),
            ("block/transaction/log", log.place.to_string()),
            ("block hash", log.block_hash.to_string()),
        ],
        DeadLetterSubject::Delivery { sink, seq } => {
            vec![("sink", sink.clone()), ("message", seq.to_string())]
        }
    };
    let always = [
        ("attempts", letter.attempts.to_string()),
        ("first seen", time(letter.first_seen)),
        ("last tried", time(letter.last_seen)),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let reason = [("reason", letter.reason.clone())];
    for (name, value) in reason.into_iter().chain(about).chain(always).chain(optional) {
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
    let (mut stored, mut queued, mut tried, mut printed) = (0, 0, 0, Ok(()));
    app::retry_dead_letters(loaded, &which, |retried| {
        tried += 1;
        stored += u64::from(retried.outcome == Outcome::Stored);
        queued += u64::from(retried.outcome == Outcome::Queued);
        let line = if args.json { line_json(&retried) } else { line(&retried) };
        if printed.is_ok() {
            printed = output::print(line.as_bytes());
        }
    })
    .await?;
    printed?;
    let done = format!("{stored} stored, {queued} put back in line");
    if stored + queued == tried {
        return if args.json { Ok(()) } else { output::print(format!("{done}\n").as_bytes()) };
    }
    Err(Failure::new(Exit::Failed, format!("of {tried} dead letters {done}")).into())
}

fn line(retried: &RetriedLetter) -> String {
    let word = |letter: &StoredDeadLetter| if letter.of_log().is_some() { "block" } else { "message" };
    let source = retried.letter.as_ref().map(|l| format!(" ({}, {} {})", whose(l), word(l), number(l)));
    format!("{}{}: {}\n", retried.id, source.unwrap_or_default(), outcome(retried).1)
}

/// One object a line, so that a script can read on while it runs.
fn line_json(retried: &RetriedLetter) -> String {
    let (word, reason) = outcome(retried);
    format!("{}\n", json!({ "id": retried.id, "outcome": word, "reason": reason }))
}

fn outcome(retried: &RetriedLetter) -> (&'static str, String) {
    match (&retried.outcome, &retried.letter) {
        (Outcome::Stored, _) => ("stored", "stored".to_owned()),
        (Outcome::Queued, _) => ("queued", "put back in line; the daemon delivers it".to_owned()),
        (Outcome::Failed(reason), _) => ("failed", format!("failed again: {reason}")),
        (Outcome::Gone, Some(letter)) if letter.resolved_at.is_some() => {
            ("resolved", "was resolved before".to_owned())
        }
        (Outcome::Gone, _) => {
            ("gone", "is not there; a reorg takes dead letters with their blocks".to_owned())
        }
    }
}

async fn drop(loaded: &Loaded, args: &DropArgs) -> anyhow::Result<()> {
    let Some(id) = args.id else { return drop_all(loaded, args).await };
    app::drop_dead_letter(loaded, id, &args.reason).await?;
    if args.json {
        return print_json(&json!({ "id": id, "dropped": true }));
    }
    output::print(format!("{id} dropped\n").as_bytes())
}

/// All of a source, or to a sink.
async fn drop_all(loaded: &Loaded, args: &DropArgs) -> anyhow::Result<()> {
    let source = args.source.as_deref().unwrap_or_default();
    let dropped = app::drop_dead_letters(loaded, source, args.kind, &args.reason).await?;
    if args.json {
        return print_json(&json!({ "source": source, "kind": args.kind, "dropped": dropped }));
    }
    output::print(format!("{dropped} dead letters of {source} dropped\n").as_bytes())
}

fn state(letter: &StoredDeadLetter) -> &'static str {
    match (letter.resolved_at, &letter.note) {
        (None, _) => "open",
        (Some(_), Some(_)) => "dropped",
        (Some(_), None) if letter.of_log().is_none() => "queued",
        (Some(_), None) => "stored",
    }
}

/// Name of the source or sink.
fn whose(letter: &StoredDeadLetter) -> &str {
    match &letter.about {
        DeadLetterSubject::Log(log) => &log.source,
        DeadLetterSubject::Delivery { sink, .. } => sink,
    }
}

/// Height of the block, or number of the message.
fn number(letter: &StoredDeadLetter) -> u64 {
    match &letter.about {
        DeadLetterSubject::Log(log) => log.place.block_number,
        DeadLetterSubject::Delivery { seq, .. } => *seq,
    }
}

fn time(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

fn as_json(letter: &StoredDeadLetter) -> anyhow::Result<Value> {
    let raw: Box<RawValue> = RawValue::from_string(letter.raw.clone())?;
    let mut value = json!({
        "id": letter.id, "state": state(letter), "kind": letter.kind, "reason": letter.reason,
        "attempts": letter.attempts, "firstSeen": letter.first_seen, "lastSeen": letter.last_seen,
        "resolvedAt": letter.resolved_at, "note": letter.note, "raw": raw,
    });
    let about = match &letter.about {
        DeadLetterSubject::Log(log) => json!({
            "chainId": log.chain_id, "source": log.source, "blockNumber": log.place.block_number,
            "blockHash": log.block_hash, "transactionIndex": log.place.tx_index, "logIndex": log.place.log_index,
        }),
        DeadLetterSubject::Delivery { sink, seq } => json!({ "sink": sink, "seq": seq }),
    };
    if let (Some(value), Value::Object(about)) = (value.as_object_mut(), about) {
        value.extend(about);
    }
    Ok(value)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    output::print(format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
}
