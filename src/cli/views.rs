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
    /// Also show files whose path matches
    ///
    /// The path is that below the source folder, and `*` matches `/` too.
    #[arg(help_heading = APPEARS, long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Never show files or folders whose path matches
    ///
    /// It wins over everything that selects; paths are those below the source folder.
    #[arg(help_heading = APPEARS, long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Also show block devices, and links to them
    #[arg(help_heading = APPEARS, hide_short_help = true, long)]
    pub allow_devices: bool,
}

/// What decides the bytes of a view.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ViewArgs {
    /// Keep the backup of a GPT, or move it to the end
    ///
    /// Padding takes the backup away from the end of the disk. `keep`, the default, shows it where it
    /// is; with `relocate` the view carries it at its end.
    #[arg(
        help_heading = APPEARS, long, value_enum, value_name = "keep|relocate", default_value_t,
        hide_possible_values = true, hide_default_value = true
    )]
    pub gpt: Gpt,
    /// Show smaller disks in this size, such as 30G
    ///
    /// What is behind them is zeros. K, M, G, T and P are powers of 1024, as KiB, MiB and so on.
    #[arg(
        help_heading = APPEARS,
        long, value_name = "SIZE", value_parser = size::virtual_size,
        allow_hyphen_values = true
    )]
    pub min_size: Option<u64>,
    /// Also open backing and data files of qcow2 images
    ///
    /// They are named relative to the image and lie below the source folder.
    #[arg(help_heading = APPEARS, long)]
    pub chains: bool,
    /// Also show images that xz has compressed
    ///
    /// Those of several blocks, such as `disk.raw.xz` made by `xz -T0`.
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
