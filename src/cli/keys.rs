use super::args::KeysCommand;
use super::exit::{Exit, OrExit};
use super::output;
use chainflume_access::ServiceKey;

/// Makes a key. It is printed once and kept nowhere.
pub(super) fn keys(command: &KeysCommand) -> anyhow::Result<Exit> {
    let KeysCommand::New = command;
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
