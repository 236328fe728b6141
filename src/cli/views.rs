//! Which images appear, and what decides the bytes of their views: for every command that shows views.

use clap::{Args, ValueEnum};

use super::{APPEARS, size};
use crate::folder::settle;
use crate::serve::image::GptPolicy;

/// Which files are images.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectionArgs {
    /// Show every file, whatever its extension
    #[arg(help_heading = APPEARS, long)]
    pub all: bool,
    /// Also show files whose path below the source folder matches (`*` matches `/` too)
    #[arg(help_heading = APPEARS, long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Never show files or folders whose path below the source folder matches
    #[arg(help_heading = APPEARS, long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Also show block devices, and links to them
    #[arg(help_heading = APPEARS, hide_short_help = true, long)]
    pub allow_devices: bool,
}

/// What decides the bytes of a view.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ViewArgs {
    /// What becomes of a GPT whose backup is not at the end of the disk that appears
    #[arg(help_heading = APPEARS, long, value_enum, value_name = "HOW", default_value_t)]
    pub gpt: Gpt,
    /// Show smaller disks in this size, such as 30G or 32GiB, with zeros behind them
    #[arg(
        help_heading = APPEARS,
        long, value_name = "SIZE", value_parser = size::virtual_size,
        allow_hyphen_values = true
    )]
    pub min_size: Option<u64>,
    /// Also open the backing files and external data files that qcow2 images name
    #[arg(help_heading = APPEARS, long)]
    pub chains: bool,
    /// Also show images that are compressed with xz, such as `disk.raw.xz`
    #[arg(help_heading = APPEARS, long)]
    pub compressed: bool,
}

impl ViewArgs {
    /// Whether views are as they are without any option.
    pub fn is_default(&self) -> bool {
        self.min_size.is_none() && matches!(self.gpt, Gpt::Keep) && !self.chains && !self.compressed
    }
}

/// What becomes of a GPT whose backup is not at the end of the padded disk.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Gpt {
    /// It appears as it is
    #[default]
    Keep,
    /// The view carries it with the backup moved to the end
    Relocate,
}

impl From<Gpt> for GptPolicy {
    fn from(gpt: Gpt) -> Self {
        match gpt {
            Gpt::Keep => Self::Keep,
            Gpt::Relocate => Self::Relocate,
        }
    }
}

/// What is done where somebody has an image open for writing.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Writers {
    /// Opening its view fails
    #[default]
    Refuse,
    /// Its view is a snapshot, the disk as it would be after a power cut; where the file system can
    Snapshot,
    /// Its view is what is there, and may be of several moments
    Allow,
}

impl From<Writers> for settle::Writers {
    fn from(writers: Writers) -> Self {
        match writers {
            Writers::Refuse => Self::Refuse,
            Writers::Snapshot => Self::Snapshot,
            Writers::Allow => Self::Allow,
        }
    }
}
