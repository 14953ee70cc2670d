/// `config/default.toml`: every key with its default and the reason.
pub const MANUAL: &str = include_str!("../../config/default.toml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::env::VarError;
    use std::path::Path;

    use super::*;
    use crate::config::reader::Reader;
    use crate::config::section::Section;
    use crate::config::{Config, Environment, FileError, Problems};

    struct Nowhere;

    impl Environment for Nowhere {
        fn var(&self, _: &str) -> Result<String, VarError> {
            Err(VarError::NotPresent)
        }

        fn is_root(&self) -> bool {
            true
        }

        fn read(&self, _: &Path, _: u64) -> Result<String, FileError> {
            Err(FileError::Missing)
        }
    }

    /// Every key the manual explains, `source.address` for instance, with its line.
    fn keys() -> Vec<(String, usize)> {
        let mut table = String::new();
        let mut keys = Vec::new();
        for (index, line) in MANUAL.lines().enumerate() {
            if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
                table = format!("{}.", name.trim_matches(['[', ']']));
            } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
                && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            {
                keys.push((format!("{table}{key}"), index));
            }
        }
        keys
    }

    fn parse(text: &str) -> Result<Config, Problems> {
        Config::parse(Path::new("default.toml"), text, &Nowhere)
    }

    #[test]
    fn every_default_of_the_manual_is_the_default_of_the_code() {
        let whole = parse(MANUAL).expect("the manual is a configuration");
        let mut required = Vec::new();
        for (key, line) in keys() {
            let without: Vec<_> =
                MANUAL.lines().enumerate().filter(|(i, _)| *i != line).map(|(_, l)| l).collect();
            match parse(&without.join("\n")) {
                Ok(config) => assert_eq!(config, whole, "without {key}"),
                Err(problems) => {
                    let missing = problems.list().iter().any(|problem| problem.problem == "is missing");
                    assert!(missing, "without {key}: {problems}");
                    required.push(key);
                }
            }
        }
        let expected = ["webhook.name", "webhook.url", "webhook.secret", "inbound.name", "inbound.provider"];
        let expected = expected.into_iter().chain(["inbound.secret", "server.key.name", "server.key.hash"]);
        let expected = expected.into_iter().chain(["server.key.scopes", "push.on", "push.emit"]);
        let expected = expected.into_iter().chain(["activity.text.type", "activity.text.status"]);
        let expected = expected.into_iter().chain(["schedule.name", "schedule.cron", "schedule.type"]);
        let expected =
            expected.chain(["threshold.name", "threshold.chain", "threshold.token", "threshold.below"]);
        let expected = expected.chain(["reaction.name", "reaction.on", "reaction.url", "reaction.secret"]);
        let expected = expected.chain(["chain.name", "chain.chain_id"]);
        let expected = expected.into_iter().chain(["chain.http", "source.name", "source.chain"]);
        let expected = expected.chain(["source.family", "source.address", "source.start_block"]);
        assert_eq!(required, expected.collect::<Vec<_>>());
    }

    fn asked_of(text: &str) -> BTreeSet<String> {
        let reader = Reader::new(Path::new("default.toml"), text, &Nowhere);
        let root = reader.parse().expect("TOML");
        let read = crate::config::read(&Section::root(&reader, root.get_ref()));
        let asked = reader.asked();
        let read = reader.finish(read);
        assert!(read.is_ok(), "{read:?}");
        asked
    }

    /// The manual with its other way to name whom to ask.
    fn with_providers() -> String {
        let mut within = false;
        let line = |line: &str| {
            within = if line.starts_with("#[") { true } else { within && !line.starts_with('[') };
            let key = within && !line.starts_with("# ");
            let short = ["http = ", "ws = ", "headers = "].iter().any(|key| line.starts_with(key));
            let line = if key { line.trim_start_matches('#') } else { line };
            if short { String::new() } else { line.to_owned() }
        };
        MANUAL.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_manual_explains_every_key_there_is_and_no_other() {
        let explained: BTreeSet<String> = keys().into_iter().map(|(key, _)| key).collect();
        let mut asked = asked_of(MANUAL);
        asked.extend(asked_of(&with_providers()));
        let tables =
            ["chain", "source", "chain.history", "chain.audit", "chain.pace", "chain.pace.compute_units"];
        let tables = [
            &tables[..],
            &["chain.failover", "chain.provider", "server.auth", "server.key", "activity.text"],
        ]
        .concat();
        let others = [
            "database",
            "outbox",
            "redis",
            "webhook",
            "alerts",
            "inbound",
            "standby",
            "admin",
            "log",
            "users",
            "shutdown",
            "server",
            "push",
            "retention",
            "activity",
            "publish",
            "schedule",
            "threshold",
            "reaction",
        ];
        // The keys of the price list are the user's own; the manual shows those that have a price.
        let explained: BTreeSet<String> =
            explained.into_iter().filter(|key| !key.starts_with("chain.pace.compute_units.")).collect();
        asked.retain(|key| !tables.contains(&key.as_str()) && !others.contains(&key.as_str()));
        assert_eq!(asked, explained);
    }

    #[test]
    fn every_key_of_the_manual_has_a_comment_above_it() {
        let lines: Vec<_> = MANUAL.lines().collect();
        for (key, line) in keys() {
            assert!(lines[line - 1].starts_with("# "), "{key} on line {}", line + 1);
        }
    }
}
