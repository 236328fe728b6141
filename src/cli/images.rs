//! Arguments of the commands that show images and views without a mount.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{SelectionArgs, Span, ViewArgs, Writers, size};

/// Arguments of `vhdfs list`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs list ~/images\n  vhdfs list --json ~/images --exclude 'old/*'"
)]
pub struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Do not break lines to fit the terminal
    #[arg(long)]
    pub wide: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Folder of disk images, or a single image
    pub source: PathBuf,
}

/// Arguments of `vhdfs inspect`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs inspect ~/images/disk.raw\n  vhdfs inspect --json ~/images/disk.raw"
)]
pub struct InspectArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Disk image
    pub file: PathBuf,
}

/// Arguments of `vhdfs cat`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs cat ~/images/disk.raw > disk.vhd\n  vhdfs cat --range 4M-8M ~/images/disk.raw | sha256sum"
)]
pub struct CatArgs {
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the views hold.
    #[command(flatten)]
    pub view: ViewArgs,
    /// What to do where somebody has the image open for writing
    #[arg(
        long,
        value_enum,
        value_name = "refuse|snapshot|allow",
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub writers: Writers,
    /// Only the bytes from START up to and without END; END may be left out, both may have K, M, G, T or P
    #[arg(long, value_name = "START-END", value_parser = size::span, allow_hyphen_values = true)]
    pub range: Option<Span>,
    /// Write to this file, which appears when it is complete
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Draw a bar on standard error
    #[arg(long)]
    pub progress: bool,
    /// Disk image
    pub image: PathBuf,
}

/// How a map is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum MapFormat {
    /// Sizes, and a picture of the disk
    #[default]
    Text,
    /// One JSON document
    Json,
    /// `offset length` of each range that holds data, a line each
    Pages,
}

/// Arguments of `vhdfs map`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vhdfs map ~/images/disk.raw\n  vhdfs map --probe --format pages ~/images/disk.raw"
)]
pub struct MapArgs {
    /// Print one JSON document
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub format: MapFormat,
    /// Read all data, and find what holds zeros only
    #[arg(long)]
    pub probe: bool,
    /// Size of the blocks of zeros that are looked for, a multiple of 512 bytes (default: 4K)
    #[arg(
        long, value_name = "SIZE", value_parser = size::granularity, requires = "probe",
        allow_hyphen_values = true
    )]
    pub granularity: Option<u64>,
    /// Which files are images.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What the view holds.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Disk image
    pub image: PathBuf,
}

impl MapArgs {
    /// How to print the map.
    pub fn format(&self) -> MapFormat {
        match self.json {
            true => MapFormat::Json,
            false => self.format,
        }
    }

    /// The size of the blocks to look for, in bytes; `None` where nothing is to be read.
    pub fn granularity(&self) -> Option<u64> {
        self.probe.then(|| self.granularity.unwrap_or(4096))
    }
}
