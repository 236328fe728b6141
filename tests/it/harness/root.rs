//! What only root may do: prepare a machine in which something is missing.

use std::ffi::OsStr;
use std::process::Command;

use super::process::tool;
use super::user::User;

/// A command that root runs; with `sudo` where the tests run as somebody else.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new(tool("sudo"));
    command.arg("--non-interactive").arg("--").arg(program);
    command
}

/// A command in a mount namespace of its own, which `preparation`, a shell script, has changed
/// before; run by root, or by `user`. The caller appends the program and its arguments.
pub(crate) fn elsewhere(preparation: &str, user: Option<User>) -> Command {
    let mut command = as_root(tool("unshare"));
    command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    command.arg(format!("{preparation}\nexec \"$@\"")).arg("sh");
    if let Some(user) = user {
        command.arg(tool("setpriv"));
        command.arg(format!("--reuid={}", user.uid));
        command.arg(format!("--regid={}", user.gid));
        command.arg("--clear-groups");
    }
    command
}
