//! The `vhdfs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vhdfs::commands::run(std::env::args_os().collect())
}
