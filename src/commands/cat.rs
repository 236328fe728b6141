//! `vhdfs cat`: the view on standard output, or in a file.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use thiserror::Error;

use super::Failure;
use super::atomic::{AtomicFile, OutputError};
use super::output::Output;
use super::print::ignore_closed;
use super::progress::Progress;
use super::view::{Choice, Named, ViewError, files_of};
use crate::cli::CatArgs;
use crate::serve::image::{Engine, OpenImage, Policy};
use disk::ByteRange;
use vhd::view::Filled;

/// Why an image cannot be written out.
#[derive(Debug, Error)]
enum CatError {
    #[error(
        "standard output is a terminal, and a VHD is no text; redirect it to a file or a pipe, or name a file with --output [terminal]"
    )]
    Terminal,
    #[error(
        "{}: standard output is the image itself, and vhdfs never writes to one; redirect it to another file [own-output]",
        .0.display()
    )]
    Itself(PathBuf),
}

/// Bytes that are read, checked and written at once.
const CHUNK_SIZE: u64 = 1 << 20;

/// Bytes that the kernel copies before the source is checked again.
const COPY_SIZE: u64 = 128 << 20;

pub(super) fn run(args: &CatArgs) -> Result<(), Failure> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(CatError::Terminal.into());
    }
    // Before it is opened: the shell that redirected the output has it open for writing.
    if is_output(&args.image) {
        return Err(CatError::Itself(args.image.clone()).into());
    }
    let choice = Choice::new(&args.selection, &args.view)?;
    let named = Named::find(&args.image, &choice)?;
    let image = named.open(&args.view, Policy::Auto, args.writers.into())?;
    let all = ByteRange::new(0, image.size());
    let range = args.range.map_or(Ok(all), |span| span.within(all.end()));
    let range = range
        .map_err(|error| Failure::usage(format!("{}: {error} [range]", args.image.display())))?;
    let sources = files_of(&named.image);
    let progress = Progress::if_wanted(args.progress, range.len(), "copying");
    let copy = Copy {
        image: &image,
        progress: &progress,
    };
    match &args.output {
        None => to_standard_output(args, &copy, range, &sources),
        Some(path) => {
            let output = AtomicFile::create(path)?;
            output.spare(&sources)?;
            let written = copy.to(output.file().try_clone()?, range);
            written.map_err(|stop| match stop {
                Stop::Read(error) => Failure::from(ViewError::Read(args.image.clone(), error)),
                Stop::Write(error) => OutputError::Write(path.clone(), error).into(),
            })?;
            Ok(output.commit()?)
        }
    }
}

fn to_standard_output(
    args: &CatArgs,
    copy: &Copy<'_>,
    range: ByteRange,
    sources: &[(u64, u64)],
) -> Result<(), Failure> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let found = file.metadata()?;
    if sources.contains(&(found.dev(), found.ino())) {
        return Err(OutputError::Source(PathBuf::from("standard output")).into());
    }
    match copy.to(file, range) {
        Err(Stop::Read(error)) => Err(ViewError::Read(args.image.clone(), error).into()),
        Err(Stop::Write(error)) => ignore_closed(Err(error)),
        Ok(()) => Ok(()),
    }
}

/// Whether what is written to standard output would be written to this file or device.
fn is_output(image: &Path) -> bool {
    let (Ok(out), Ok(image)) = (rustix::fs::fstat(io::stdout()), rustix::fs::stat(image)) else {
        return false;
    };
    let is_same_file = (out.st_dev, out.st_ino) == (image.st_dev, image.st_ino);
    let is_device =
        |found: &rustix::fs::Stat| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice;
    is_same_file || is_device(&out) && is_device(&image) && out.st_rdev == image.st_rdev
}

/// Which side ended the copy.
enum Stop {
    Read(io::Error),
    Write(io::Error),
}

/// A view on its way to an output.
struct Copy<'a> {
    image: &'a OpenImage,
    progress: &'a Progress,
}

impl Copy<'_> {
    /// Writes `range` of the view, or takes back what it wrote.
    fn to(&self, file: File, range: ByteRange) -> Result<(), Stop> {
        let mut output = Output::new(file).map_err(Stop::Write)?;
        let written = self
            .write_range(range, &mut output)
            .and_then(|()| output.finish().map_err(Stop::Write));
        if written.is_err() {
            output.discard();
        }
        written
    }

    fn write_range(&self, range: ByteRange, output: &mut Output) -> Result<(), Stop> {
        let image = self.image;
        let mut offset = range.start();
        while offset < range.end() {
            let data = image.seek_data(offset).map_err(Stop::Read)?;
            let data = data.unwrap_or(range.end()).min(range.end());
            output.skip(data - offset).map_err(Stop::Write)?;
            self.progress.advance(data - offset);
            if data == range.end() {
                break;
            }
            let end = image.seek_hole(data).map_err(Stop::Read)?;
            let end = end.unwrap_or(range.end()).min(range.end());
            self.write_data(ByteRange::new(data, end), output)?;
            offset = end;
        }
        Ok(())
    }

    fn write_data(&self, range: ByteRange, output: &mut Output) -> Result<(), Stop> {
        let image = self.image;
        let mut buffer = vec![0; CHUNK_SIZE.min(range.len()) as usize];
        let mut offset = range.start();
        while offset < range.end() {
            let next = ByteRange::at(offset, COPY_SIZE).intersect(range);
            let is_frozen = image.engine() == Engine::Snapshot;
            let copied = match image.stored_at(next).map_err(Stop::Read)? {
                Some(stored) => output
                    .copy_from(stored.file, stored.range, is_frozen)
                    .map_err(Stop::Write)?,
                None => None,
            };
            let done = match copied {
                Some(count) => {
                    image.check().map_err(Stop::Read)?;
                    count
                }
                None => {
                    let chunk = &mut buffer[..CHUNK_SIZE.min(range.end() - offset) as usize];
                    if image.read(chunk, offset).map_err(Stop::Read)? == Filled::Zeros {
                        chunk.fill(0);
                    }
                    output.write(chunk).map_err(Stop::Write)?;
                    chunk.len() as u64
                }
            };
            self.progress.advance(done);
            offset += done;
        }
        Ok(())
    }
}
