//! `vhdfs cat`: the view on standard output.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

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
}

/// Bytes that are read, checked and written at once.
const CHUNK_SIZE: u64 = 1 << 20;

/// Bytes that the kernel copies before the source is checked again.
const COPY_SIZE: u64 = 128 << 20;

pub(super) fn run(args: &CatArgs) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(CatError::Terminal.into());
    }
    let image = Named::find(&args.image, &args.view)?.open(&args.view, Policy::Auto)?;
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
