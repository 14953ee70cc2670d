use std::process::Stdio;

use tokio::process::Child;

use super::error::{At, PostgresError};
use super::user::RunAs;

/// Ends the server when we are gone, however we went: a shell that waits for our end of its pipe to close
/// and then asks the postmaster for a fast shutdown.
///
/// The kernel's own way (`PR_SET_PDEATHSIG`) needs code between fork and exec, which is `unsafe`; and it
/// fires when the *thread* that started the server ends, not the process.
#[derive(Debug)]
pub(super) struct Leash {
    shell: Child,
}

impl Leash {
    pub(super) fn tie(postmaster: u32, run_as: &RunAs) -> Result<Self, PostgresError> {
        let mut command = run_as.command("/bin/sh");
        command.args(["-c", r#"read -r _; kill -INT "$0" 2>/dev/null"#, &postmaster.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { shell: command.spawn().at("run", "/bin/sh".as_ref())? })
    }

    /// Lets go without a signal: the postmaster has ended and its number may become somebody else's.
    pub(super) async fn untie(mut self) {
        // It may have ended by itself.
        let _ = self.shell.kill().await;
    }
}
