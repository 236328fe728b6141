//! Whether Azure would take and boot an image: the library behind `vhdfs check`.
//!
//! Source of the rules: Microsoft's guide "Prepare Linux for imaging in Azure" (formerly
//! "Information for community supported and non-endorsed distributions"); each rule names the
//! heading it comes from, and `docs/CHECK.md` lists them all. Nothing is mounted or changed,
//! and what is read is bounded whatever the image says. What cannot be told is reported as
//! unknown, never left out.
//!
//! ```
//! use std::rc::Rc;
//!
//! use check::{Options, Verdict, check};
//!
//! // 20 MiB of zeros: large enough for Azure, and nothing in it to boot from.
//! let disk = Rc::new(vec![0; 20 << 20]);
//! let report = check("disk.raw", disk, &Options::default(), &mut |_| {})?;
//! assert_eq!(report.verdict(), Verdict::NotReady);
//! assert!(report.findings.iter().any(|finding| finding.id == "table-missing"));
//! # Ok::<(), check::CheckError>(())
//! ```

#![forbid(unsafe_code)]

mod blocks;
mod chain;
mod cmdline;
mod container;
mod content;
mod context;
mod deadline;
mod decoders;
mod drivers;
mod elf;
mod family;
mod files;
mod firmware;
mod grub;
mod initrd;
mod kernel;
mod loader;
mod lvm;
mod metered;
mod mount_options;
mod network;
mod partitions;
pub mod printable;
mod provisioning;
mod reachable;
mod report;
mod rules;
mod size;
mod sizes;
mod system;
mod unread;
mod volumes;
mod yaml;

use std::io;
use std::rc::Rc;

use thiserror::Error;

pub use context::Progress;
pub use deadline::{Deadline, NoDeadline};
pub use report::{
    Finding, Generation, Level, Report, SCHEMA, Stage, StageReport, StageVerdict, Verdict,
};
pub use rules::{document, explain, ids};

use container::Container;
use context::Context;
use disk::Disk;
use disk::format::Format;
use metered::Metered;
use partitions::Layout;

/// What to judge an image for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Generation of the virtual machine; without one, the generation that the image looks like.
    pub generation: Option<Generation>,
    /// Whether it will be a data disk, so that what matters only for booting is left out.
    pub data_disk: bool,
    /// Whether the machine will have Secure Boot, as with Trusted Launch.
    pub secure_boot: bool,
}

/// Why an image could not be judged at all.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Reading the image failed.
    #[error("the image could not be read: {0}")]
    Io(#[from] io::Error),
    /// There is nothing to judge.
    #[error("the image is empty")]
    Empty,
}

/// Which bytes are judged for an image.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Subject {
    /// Its own: a raw disk as it would be presented, padded to whole MiB, or a VHD.
    #[default]
    Image,
    /// Those of the view that a mount shows of it; the image itself is in this format.
    View(Format),
    /// Its own, of which no view can be made for this reason.
    WithoutView(String),
}

/// Judges an image by its own bytes: a raw one as it would be presented, padded to whole MiB, or
/// a VHD.
///
/// `name` stands in the report, and a name that ends in `.vhd` makes a missing footer a finding.
/// `progress` is called whenever a step begins and, in a long step, as it goes on.
///
/// # Errors
///
/// [`CheckError`] if the image itself cannot be read. What is wrong inside of it are findings.
pub fn check(
    name: &str,
    image: Rc<dyn Disk>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, CheckError> {
    check_subject(
        &Subject::Image,
        name,
        image,
        options,
        Rc::new(NoDeadline),
        progress,
    )
}

/// Judges an image by the bytes of `image`, which are its own or those of its view. Otherwise as
/// [`check`].
///
/// When `deadline` has passed, nothing more is read: what was not followed by then is unknown.
///
/// # Errors
///
/// As [`check`].
pub fn check_subject(
    subject: &Subject,
    name: &str,
    image: Rc<dyn Disk>,
    options: &Options,
    deadline: Rc<dyn Deadline>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, CheckError> {
    if image.size() == 0 {
        return Err(CheckError::Empty);
    }
    let container = Container::of(name, &*image)?;
    let format = match subject {
        Subject::View(format) => *format,
        Subject::Image | Subject::WithoutView(_) => container.format,
    };
    let disk = Rc::new(Metered::new(
        image,
        container.body_size,
        container.virtual_size,
        deadline,
    ));
    let context = Context::new(Rc::clone(&disk), options, progress);
    container.judge(subject, &context);
    let mut generation = options.generation.unwrap_or(Generation::One);
    if container.is_disk() {
        match judge_disk(&container, &context) {
            Ok(found) => generation = found,
            // That is said below.
            Err(_) if disk.was_cut().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    context.judge_cut();
    let found = context.into_found();
    let stages = if options.data_disk {
        &Stage::ALL[..1]
    } else {
        &Stage::ALL
    };
    match disk.take_failure() {
        Some(error) => Err(error.into()),
        None => Ok(Report::new(name, format, generation, stages, found)),
    }
}

/// Judges the disk in an image of a format that can be looked into.
fn judge_disk(container: &Container, context: &Context<'_>) -> Result<Generation, CheckError> {
    context.step("partition table");
    let layout = Layout::read(context)?;
    let looks_like = layout.generation();
    let generation = context.options.generation.unwrap_or(looks_like);
    context.generation.set(generation);
    size::judge(container, &layout, generation, context);
    layout.judge(context);
    context.followed(Stage::Container);
    context.evidence(Stage::Container, layout.in_words(container.virtual_size));
    if !context.options.data_disk {
        chain::follow(&layout, generation, context);
    }
    Ok(generation)
}

#[cfg(test)]
mod tests;
