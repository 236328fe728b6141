//! Arguments of the commands that help does not list.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `vhdfs demo`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vhdfs demo samples\n  vhdfs list samples")]
pub struct DemoArgs {
    /// Folder for the images; made where it is missing
    pub folder: PathBuf,
}

/// Arguments of `vhdfs generate`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vhdfs generate generated\n  ls generated/man1")]
pub struct GenerateArgs {
    /// Folder for `man1`, `man8` and `completions`; made where it is missing
    pub folder: PathBuf,
}
