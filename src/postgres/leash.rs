use std::process::Stdio;

use tokio::process::Child;

use super::error::{At, PostgresError};
use super::user::RunAs;

/// Stops the server when the daemon is gone for any reason: a shell waits until the daemon's end of its pipe closes,
/// and then requests a fast shutdown of the postmaster.
///
/// The kernel's mechanism (`PR_SET_PDEATHSIG`) needs code between fork and exec, which is `unsafe`. It also fires when
/// the *thread* that started the server ends, not the process.
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

    /// Releases the server without a signal: the postmaster has ended, and its number may belong to another process.
    pub(super) async fn untie(mut self) {
        // The shell may have ended already.
        let _ = self.shell.kill().await;
    }
}
