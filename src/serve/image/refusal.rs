//! Why a view is not opened.

use std::io;

use thiserror::Error;

use super::snapshot::{SnapshotError, is_shortage};
use crate::folder::writers::Writer;
use disk::gpt::RelocateError;
use vhd::LayoutError;

/// Why a view that the user asked for cannot be opened, whatever the source says.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The source cannot be opened in the version that was found.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// A snapshot is demanded, and cannot be had.
    #[error("no snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The partition table cannot be made one of the disk that appears.
    #[error("its GPT cannot be relocated: {0}; --gpt keep leaves it as it is")]
    Gpt(#[from] RelocateError),
    /// There is no view of a source of this size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is being written, and `--writers` refuses that.
    #[error(
        "somebody has it open for writing{}; close it there, or mount with --writers snapshot or --writers allow",
        shown(.0)
    )]
    Written(Vec<Writer>),
    /// It is being written, and the snapshot that `--writers` asks for cannot be made.
    #[error(
        "somebody has it open for writing{}, and there is no snapshot: {}; close it there, or mount with --writers allow",
        shown(.0), .1
    )]
    WrittenUncloned(Vec<Writer>, #[source] SnapshotError),
}

impl Refusal {
    /// Whether space or descriptors ran out, so that freeing some could help.
    pub(super) fn is_shortage(&self) -> bool {
        match self {
            Self::Source(error) => is_shortage(error),
            Self::Snapshot(error) | Self::WrittenUncloned(_, error) => error.is_shortage(),
            _ => false,
        }
    }
}

fn shown(writers: &[Writer]) -> String {
    let shown: Vec<_> = writers.iter().map(Writer::to_string).collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!(" ({})", shown.join(", ")),
    }
}
