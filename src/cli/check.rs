use std::fmt::Write;

use serde_json::{Value, json};

use super::args::{CheckArgs, Global};
use super::exit::Exit;
use super::{block_on, load_for_command, output};
use crate::app::{self, CheckLine, CheckReport, CheckScope};
use crate::config::{Chain, Config, Confirmations, Problems, ProviderSettings, Source};
use chainflume_core::decode::SupplyChange;
use chainflume_core::domain::{AddressSet, StartBlock};

/// Reads the configuration and the ABIs it names, asks the nodes and the database, and prints the results.
pub(super) fn check(global: &Global, args: &CheckArgs) -> anyhow::Result<Exit> {
    let loaded = match load_for_command(global) {
        Ok(loaded) => loaded,
        Err(error) => return refused(error, args.json),
    };
    if !args.json {
        output::print(as_text(&loaded.config).as_bytes())?;
    }
    if args.offline {
        return show_json(args, &loaded.config, None).map(|()| Exit::Done);
    }
    let mut report = None;
    let scope = if args.start { CheckScope::Start } else { CheckScope::Everything };
    let outcome = block_on(app::check(&loaded, scope, |found| report = Some(connections(args, found))))?;
    let report = report.transpose()?;
    show_json(args, &loaded.config, report)?;
    outcome?;
    Ok(Exit::Done)
}

/// The lines for a person; as JSON for a script, where they are part of one answer.
fn connections(args: &CheckArgs, report: &CheckReport) -> anyhow::Result<Value> {
    if !args.json {
        let verdict = |line: &CheckLine| match (line.ok, line.warning) {
            (false, _) => "FAIL",
            (true, true) => "warn",
            (true, false) => "ok  ",
        };
        let line = |line: &CheckLine| format!("{} {}\n", verdict(line), line.text);
        let lines: String = report.lines.iter().map(line).collect();
        output::print(format!("\n{lines}").as_bytes())?;
    }
    Ok(serde_json::to_value(report)?)
}

fn show_json(args: &CheckArgs, config: &Config, connections: Option<Value>) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    let mut answer = as_json(config);
    if let Some(connections) = connections {
        answer["ok"] = connections["ok"].clone();
        answer["connections"] = connections["lines"].clone();
    }
    output::print(format!("{answer:#}\n").as_bytes())
}

/// A script that asked for JSON gets JSON, also about a file that is wrong.
fn refused(error: anyhow::Error, json: bool) -> anyhow::Result<Exit> {
    match error.downcast_ref::<Problems>() {
        Some(problems) if json => {
            let answer = json!({ "ok": false, "file": problems.file(), "problems": problems.list() });
            output::print(format!("{answer:#}\n").as_bytes())?;
            Ok(Exit::Config)
        }
        _ => Err(error),
    }
}

/// How the chain is asked, and how many ways there are.
fn transport(chain: &Chain) -> String {
    let kind = |provider: &ProviderSettings| if provider.ws_url.is_some() { "http and ws" } else { "http" };
    match chain.node.providers.as_slice() {
        [one] => kind(one).to_owned(),
        several => {
            let each = |provider: &ProviderSettings| format!("{} ({})", provider.label, kind(provider));
            several.iter().map(each).collect::<Vec<_>>().join(", ")
        }
    }
}

fn as_text(config: &Config) -> String {
    let mut text = String::from("the configuration is right\n");
    for chain in &config.chains {
        let Chain { name, chain_id, .. } = chain;
        let transport = transport(chain);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\nchain {name} (id {chain_id}): {}, {transport}",
            depth(chain.policy.confirmations)
        );
        for source in config.sources_of(name) {
            let Source { name, family, .. } = source;
            let (contracts, blocks) = (contracts(source), blocks(source));
            let _ = writeln!(text, "  source {name}: {family}, {contracts}, {blocks}");
            for event in &source.events {
                let filter = if event.filter.is_open() { "" } else { ", as `where` says" };
                let supply = match event.supply {
                    Some(SupplyChange::Mint) => ", mints",
                    Some(SupplyChange::Burn) => ", burns",
                    None => "",
                };
                let _ = writeln!(text, "    {}{supply}{filter}", event.signature);
            }
            for repeated in &source.repeated {
                let _ = writeln!(text, "    note: {repeated}");
            }
        }
    }
    text
}

fn depth(confirmations: Confirmations) -> String {
    match confirmations {
        Confirmations::Blocks(1) => "1 confirmation".to_owned(),
        Confirmations::Blocks(depth) => format!("{depth} confirmations"),
        Confirmations::Safe => "confirmed when safe".to_owned(),
        Confirmations::Finalized => "confirmed when finalized".to_owned(),
    }
}

fn blocks(source: &Source) -> String {
    let from = match source.start_block {
        StartBlock::Number(number) => format!("from block {number}"),
        StartBlock::Latest => "from the latest block".to_owned(),
    };
    from + &source.end_block.map(|end| format!(" to block {end}")).unwrap_or_default()
}

fn contracts(source: &Source) -> String {
    match &source.addresses {
        AddressSet::Any => "any contract".to_owned(),
        AddressSet::Only(addresses) if addresses.len() == 1 => {
            addresses.iter().map(ToString::to_string).collect()
        }
        AddressSet::Only(addresses) => format!("{} contracts", addresses.len()),
    }
}

fn start_block(source: &Source) -> Value {
    match source.start_block {
        StartBlock::Number(number) => json!(number),
        StartBlock::Latest => json!("latest"),
    }
}

fn as_json(config: &Config) -> Value {
    let source = |source: &Source| {
        let addresses = match &source.addresses {
            AddressSet::Any => json!("any"),
            AddressSet::Only(addresses) => json!(addresses),
        };
        let events: Vec<&str> = source.events.iter().map(|event| event.signature.as_str()).collect();
        let notes: Vec<String> = source.repeated.iter().map(ToString::to_string).collect();
        json!({
            "name": source.name, "family": source.family.as_str(), "addresses": addresses,
            "startBlock": start_block(source), "endBlock": source.end_block, "events": events, "notes": notes,
        })
    };
    let chain = |chain: &Chain| {
        let sources: Vec<Value> = config.sources_of(&chain.name).map(source).collect();
        json!({ "name": chain.name, "chainId": chain.chain_id, "sources": sources })
    };
    json!({ "ok": true, "problems": [], "chains": config.chains.iter().map(chain).collect::<Vec<_>>() })
}
