//! `vhdfs cat`: the view on standard output.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use thiserror::Error;

use super::Failure;
use super::output::Output;
use super::print::ignore_closed;
use super::view::{Named, ViewError};
use crate::cli::CatArgs;
use crate::serve::image::{Engine, OpenImage, Policy};
use disk::ByteRange;
use vhd::view::Filled;

/// Why an image cannot be written out.
#[derive(Debug, Error)]
enum CatError {
    #[error("standard output is a terminal, and a VHD is no text; redirect it to a file or a pipe")]
    Terminal,
    #[error(
        "{}: standard output is the image itself, and vhdfs never writes to one; redirect it to another file",
        .0.display()
    )]
    Itself(PathBuf),
}

/// Bytes that are read, checked and written at once.
const CHUNK_SIZE: u64 = 1 << 20;

/// Bytes that the kernel copies before the source is checked again.
const COPY_SIZE: u64 = 128 << 20;

pub(super) fn run(args: &CatArgs) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(CatError::Terminal.into());
    }
    // Before it is opened: the shell that redirected the output has it open for writing.
    if is_output(&args.image) {
        return Err(CatError::Itself(args.image.clone()).into());
    }
    let found = Named::find(&args.image, &args.view)?;
    let image = found.open(&args.view, Policy::Auto, args.writers.into())?;
    let mut output = Output::new(io::stdout().as_fd().try_clone_to_owned()?.into())?;
    match write_view(&image, &mut output) {
        Err(Stop::Read(error)) => {
            output.discard();
            Err(ViewError::Read(args.image.clone(), error).into())
        }
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

fn write_view(image: &OpenImage, output: &mut Output) -> Result<(), Stop> {
    let mut offset = 0;
    while offset < image.size() {
        let data = image
            .seek_data(offset)
            .map_err(Stop::Read)?
            .unwrap_or(image.size());
        output.skip(data - offset).map_err(Stop::Write)?;
        let end = image
            .seek_hole(data)
            .map_err(Stop::Read)?
            .unwrap_or(image.size());
        write_data(image, ByteRange::new(data, end), output)?;
        offset = end;
    }
    Ok(())
}

fn write_data(image: &OpenImage, range: ByteRange, output: &mut Output) -> Result<(), Stop> {
    let mut buffer = vec![0; CHUNK_SIZE.min(range.len()) as usize];
    let mut offset = range.start();
    while offset < range.end() {
        let copyable = image
            .body_at(offset)
            .intersect(ByteRange::at(offset, COPY_SIZE))
            .intersect(range);
        let is_frozen = image.engine() == Engine::Snapshot;
        let copied = match image.body() {
            Some(body) if !copyable.is_empty() => output
                .copy_from(body, copyable, is_frozen)
                .map_err(Stop::Write)?,
            _ => None,
        };
        match copied {
            Some(count) => {
                image.check().map_err(Stop::Read)?;
                offset += count;
            }
            None => {
                let chunk = &mut buffer[..CHUNK_SIZE.min(range.end() - offset) as usize];
                if image.read(chunk, offset).map_err(Stop::Read)? == Filled::Zeros {
                    chunk.fill(0);
                }
                output.write(chunk).map_err(Stop::Write)?;
                offset += chunk.len() as u64;
            }
        }
    }
    Ok(())
}
