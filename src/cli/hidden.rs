//! Arguments of the commands that help does not list.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `vhdfs demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Folder for the images; made where it is missing
    pub folder: PathBuf,
}

/// Arguments of `vhdfs generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Folder for `man1`, `man8` and `completions`; made where it is missing
    pub folder: PathBuf,
}
