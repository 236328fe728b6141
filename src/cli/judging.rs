//! Arguments of the commands that judge images and copies of views.

use std::path::PathBuf;

use check::Generation;
use clap::Args;

use super::{SelectionArgs, Span, ViewArgs, size};

/// Arguments of `vhdfs manifest`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs manifest --output images.json ~/images\n  vhdfs manifest ~/images/disk.raw > disk.json"
)]
pub struct ManifestArgs {
    /// Write to this file, which appears when it is complete
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave out the sums of whole views, which have to go through every hole: fast for sparse disks
    #[arg(long)]
    pub blocks_only: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Folder of disk images, or a single image
    pub source: PathBuf,
}

/// Arguments of `vhdfs verify`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status:\n  0 equal · 1 not · 2 could not be told\n\nExamples:\n  vhdfs verify images.json downloads/disk.vhd\n  vhdfs cat ~/images/disk.raw | vhdfs verify images.json - --view disk.vhd"
)]
pub struct VerifyArgs {
    /// Tell all blocks that differ, not the first only
    #[arg(long)]
    pub all: bool,
    /// Only the bytes from START up to and without END, multiples of 4M; a stream holds these alone
    #[arg(long, value_name = "START-END", value_parser = size::span, allow_hyphen_values = true)]
    pub range: Option<Span>,
    /// Which view of the manifest the file should hold; by default the one that is called like it
    #[arg(long = "view", value_name = "NAME")]
    pub view_name: Option<String>,
    /// What `vhdfs manifest` wrote
    pub manifest: PathBuf,
    /// File, view, block device or pipe; `-` for standard input
    pub file: PathBuf,
}

/// Arguments of `vhdfs check`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status:\n  0 ready · 1 not ready · 2 wrong arguments, or an image cannot be read\n  3 could not be told\n\nExamples:\n  vhdfs check --generation 2 ~/images/debian.raw\n  vhdfs check --json --data-disk ~/images/data.img"
)]
pub struct CheckArgs {
    /// Print one JSON document; an array where several images or a folder are named
    #[arg(long)]
    pub json: bool,
    /// Generation of the virtual machine; by default the one that the image looks like
    #[arg(long, value_name = "NUMBER", value_parser = generation)]
    pub generation: Option<Generation>,
    /// Leave out what matters only for booting
    #[arg(long)]
    pub data_disk: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Judge for a machine with Secure Boot (Trusted Launch): all that is started must be signed
    #[arg(long, conflicts_with = "data_disk")]
    pub secure_boot: bool,
    /// Seconds after which the check of an image ends; what it has not followed by then is unknown
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub time_limit: u32,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Print what a finding means, where its rule comes from, and what to do
    #[arg(long, value_name = "ID", exclusive = true)]
    pub explain: Option<String>,
    /// Disk images, views on a mount, or folders of them
    #[arg(value_name = "IMAGE|FOLDER", required_unless_present = "explain", num_args = 1..)]
    pub images: Vec<PathBuf>,
}

fn generation(text: &str) -> Result<Generation, String> {
    let number = text.parse().ok();
    number
        .and_then(Generation::from_number)
        .ok_or_else(|| "1 or 2".into())
}
