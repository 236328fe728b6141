//! The command line: what users type, and nothing of what it does.
//!
//! An option of `mount` is a field of [`MountArgs`], or of [`SelectionArgs`] or [`ViewArgs`] if other commands
//! take it as well; `-o` has it by the same name (`mount_options`).

mod helper;
mod hidden;
mod images;
mod judging;
mod mount;
mod mount_options;
mod mounts;
mod size;
mod views;

use clap::{Parser, Subcommand};

pub use helper::{HELPER_NAME, HelperArgs, understand};
pub use hidden::{DemoArgs, GenerateArgs};
pub use images::{CatArgs, InspectArgs, ListArgs, MapArgs, MapFormat};
pub use judging::{CheckArgs, ManifestArgs, VerifyArgs};
pub use mount::{MountArgs, Sandbox, Snapshot};
pub use mount_options::{OptionError, kernel_options};
pub use mounts::{StatusArgs, UmountArgs};
pub use size::Span;
pub use views::{Gpt, SelectionArgs, ViewArgs, Writers};

/// Groups of options in the help.
const APPEARS: &str = "What appears";
const READERS: &str = "Who may read";
const CONSISTENCY: &str = "Consistency";
const SPEED: &str = "Speed";
const SYSTEM: &str = "System";

/// Show disk images as Azure-ready fixed VHDs, without converting or copying them.
#[derive(Debug, Parser)]
#[command(
    name = "vhdfs",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "`vhdfs COMMAND -h` is short, `vhdfs COMMAND --help` says more. Messages end with\nan [id]: `vhdfs help troubles ID` explains it. `vhdfs --version --verbose` says\nwhat this system can do.\n\nExamples:\n  vhdfs mount ~/images /mnt/vhd\n  azcopy copy '/mnt/vhd/*' \"$CONTAINER_URL\" --recursive --blob-type PageBlob\n  vhdfs umount /mnt/vhd"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount the images of a folder, or a single image
    Mount(Box<MountArgs>),
    /// End a mount
    #[command(visible_alias = "unmount")]
    Umount(UmountArgs),
    /// Show what is mounted, who reads what, and how fast
    Status(StatusArgs),
    /// Tell what would appear in a mount, what would not, and why
    List(ListArgs),
    /// Show the format, layout and footer of an image
    Inspect(InspectArgs),
    /// Write the VHD of an image to standard output, for hosts without FUSE
    Cat(CatArgs),
    /// Show which ranges of a view hold data, and which are zeros
    Map(MapArgs),
    /// Write sums that prove what views hold
    Manifest(ManifestArgs),
    /// Tell whether a file, a stream or a download holds a view
    Verify(VerifyArgs),
    /// Tell whether Azure would take and boot an image
    Check(CheckArgs),
    /// Make three small images to try vhdfs on
    #[command(hide = true)]
    Demo(DemoArgs),
    /// Write man pages and completions for packages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
