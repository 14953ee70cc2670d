use super::args::{KeysArgs, KeysCommand, RevokeArgs};
use super::exit::{Exit, OrExit};
use super::output;
use super::table::table;
use crate::app::{self, KeyListing, Loaded};
use chainflume_api::access::ServiceKey;

/// Makes a key. It is printed once and kept nowhere.
pub(super) fn new() -> anyhow::Result<Exit> {
    let key = ServiceKey::generate().or_exit(Exit::Failed)?;
    let text = format!(
        "# The key, for the service: {}\n# The table, for the configuration of chainflume:\n\
         [[server.key]]\nname = \"backend\"\nhash = \"{}\"\nscopes = [\"read\"]\n",
        key.expose(),
        key.hash()
    );
    output::print(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Lists or revokes keys.
pub(super) async fn keys(loaded: &Loaded, command: &KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::New => new().map(|_| ()),
        KeysCommand::List(args) => list(loaded, args).await,
        KeysCommand::Revoke(RevokeArgs { key }) => {
            let hashes = app::revoke_key(loaded, key).await?;
            let lines = hashes.iter().map(|hash| format!("{hash} is refused by every server within 2 s\n"));
            let remedy =
                "remove its [[server.key]] from the configuration; the revocation stays in the database\n";
            output::print(format!("{}{remedy}", lines.collect::<String>()).as_bytes())
        }
    }
}

async fn list(loaded: &Loaded, args: &KeysArgs) -> anyhow::Result<()> {
    let keys = app::keys(loaded).await?;
    if args.json {
        return output::print(format!("{}\n", serde_json::to_string_pretty(&keys)?).as_bytes());
    }
    if keys.is_empty() {
        return output::print(b"there are none; `chainflume keys new` makes one\n");
    }
    let headings = ["name", "hash", "scopes", "state"];
    output::print(table(&headings, &keys.iter().map(row).collect::<Vec<_>>()).as_bytes())
}

fn row(key: &KeyListing) -> Vec<String> {
    let state = match (&key.name, key.revoked_at) {
        (_, None) => "valid",
        (Some(_), Some(_)) => "revoked; remove it from the configuration",
        (None, Some(_)) => "revoked, not configured",
    };
    let name = key.name.clone().unwrap_or_else(|| "-".to_owned());
    vec![name, key.hash.clone(), key.scopes.join(" "), state.to_owned()]
}
