use std::fmt::Write;

use chainflume_core::mapping::Family;

/// What goes into a new configuration.
#[derive(Clone, Debug)]
pub(super) struct ConfigDraft {
    pub chain: String,
    pub chain_id: u64,
    pub block_time: &'static str,
    pub confirmations: u64,
    pub http: String,
    pub ws: String,
    pub name: String,
    pub family: Family,
    pub addresses: Vec<String>,
    pub abi: Option<String>,
    pub start_block: u64,
    /// Signatures the ABI has, for the comment.
    pub events: Vec<String>,
}

impl ConfigDraft {
    /// The same with placeholder URLs where they come from variables, which need not be set yet.
    pub fn with_stand_ins(&self) -> Self {
        let stand_in =
            |url: &str, other: &str| if url.contains("${") { other.to_owned() } else { url.to_owned() };
        Self {
            http: stand_in(&self.http, "http://127.0.0.1:8545"),
            ws: stand_in(&self.ws, "ws://127.0.0.1:8545"),
            ..self.clone()
        }
    }

    /// The file.
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# Chainflume's configuration. What is not here has a default; every key there is, with its default\n\
             # and the reason: `chainflume init --manual`. Check this file with `chainflume check`.\n\
             \n\
             # No [database]: a private PostgreSQL of the daemon's own. To use another:\n\
             #[database]\n\
             #url = \"${DATABASE_URL}\"\n",
        );
        // Writing to a string cannot fail.
        let _ = self.chain(&mut text);
        let _ = self.source(&mut text);
        text
    }

    fn chain(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n[[chain]]\nname = {}", quoted(&self.chain))?;
        writeln!(text, "# The node is checked against it.\nchain_id = {}", self.chain_id)?;
        writeln!(
            text,
            "# \"${{VAR}}\" takes a URL from the environment, so that the key in it stays out of this file."
        )?;
        writeln!(text, "http = {}", quoted(&self.http))?;
        writeln!(text, "# Wakes the daemon when there is a block; empty: it asks every poll_interval.")?;
        writeln!(text, "ws = {}", quoted(&self.ws))?;
        writeln!(text, "# Blocks below the head before a log counts, or \"safe\" or \"finalized\".")?;
        writeln!(text, "confirmations = {}", self.confirmations)?;
        writeln!(text, "# Usual time between blocks.\nblock_time = {}", quoted(self.block_time))
    }

    fn source(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n[[source]]\n# Its views are called {}_<event>.", self.name.escape_debug())?;
        writeln!(text, "name = {}\nchain = {}", quoted(&self.name), quoted(&self.chain))?;
        writeln!(text, "# What the events mean: stake, erc20, erc721 or generic.")?;
        writeln!(text, "family = {}", quoted(self.family.as_str()))?;
        let list: Vec<String> = self.addresses.iter().map(|address| quoted(address)).collect();
        match list.as_slice() {
            [one] => writeln!(text, "address = {one}")?,
            several => writeln!(text, "address = [{}]", several.join(", "))?,
        }
        match &self.abi {
            Some(abi) => writeln!(text, "# Relative to the folder of this file.\nabi = {}", quoted(abi))?,
            None => writeln!(text, "# Without `abi`: the standard's own events.")?,
        }
        let events: Vec<String> = self.events.iter().map(|event| quoted(event)).collect();
        writeln!(
            text,
            "# All events of the ABI, unless some are picked:\n#events = [{}]",
            events.join(", ")
        )?;
        writeln!(text, "# The block the contract was created in: from 0 the first sync only takes longer.")?;
        writeln!(text, "start_block = {}", self.start_block)?;
        match self.family {
            Family::Stake => writeln!(text, "# Decimals of the staked token.\ndecimals = 6"),
            Family::Generic => {
                writeln!(
                    text,
                    "# The argument, an address, that names the user an event is about:\n#user = \"…\""
                )
            }
            Family::Erc20 | Family::Erc721 => Ok(()),
        }
    }
}

/// A basic string of TOML.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_string_reads_back_as_it_was() {
        let odd = "a\"b\\c\nd\u{7f}${E} é";
        let text = format!("key = {}", quoted(odd));
        let table = toml::de::DeTable::parse(&text).expect("TOML");
        assert_eq!(table.get_ref().get("key").and_then(|value| value.get_ref().as_str()), Some(odd));
    }
}
