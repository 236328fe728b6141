//! `vhdfs cat`: the view on standard output.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

use super::Failure;
use super::print::ignore_closed;
use crate::catalog::{self, Catalog, Found};
use crate::cli::CatArgs;
use crate::image::{OpenImage, Snapshots};

/// Why an image cannot be written out.
#[derive(Debug, Error)]
enum CatError {
    #[error("standard output is a terminal; redirect it to a file or a pipe")]
    Terminal,
    #[error("{}: cannot be read: {}", .0.display(), .1)]
    Read(PathBuf, #[source] io::Error),
    #[error("{}: has no view: {}", .0.display(), .1)]
    NoView(PathBuf, #[source] catalog::Skip),
}

/// Bytes that are read, checked and written at once.
const CHUNK_SIZE: u64 = 1 << 20;

pub(super) fn run(args: &CatArgs) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(CatError::Terminal.into());
    }
    let image = open(&args.image)?;
    let mut output = Output::new(io::stdout().as_fd().try_clone_to_owned()?.into())?;
    let read_failed = |error| CatError::Read(args.image.clone(), error);
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    let mut offset = 0;
    while offset < image.size() {
        let data = image
            .seek_data(offset)
            .map_err(read_failed)?
            .unwrap_or(image.size());
        if let Err(error) = output.skip(data - offset) {
            return ignore_closed(Err(error));
        }
        let end = image
            .seek_hole(data)
            .map_err(read_failed)?
            .unwrap_or(image.size());
        offset = data;
        while offset < end {
            let chunk = &mut buffer[..CHUNK_SIZE.min(end - offset) as usize];
            image.read(chunk, offset).map_err(read_failed)?;
            if let Err(error) = output.write(chunk) {
                return ignore_closed(Err(error));
            }
            offset += chunk.len() as u64;
        }
    }
    ignore_closed(output.finish())
}

fn open(path: &Path) -> Result<OpenImage, CatError> {
    let failed = |error| CatError::Read(path.to_owned(), error);
    let no_view = |skip| CatError::NoView(path.to_owned(), skip);
    if path.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    // Naming a device is asking for it.
    let options = catalog::Options {
        allow_devices: true,
        ..Default::default()
    };
    let catalog = Catalog::open(path, options).map_err(failed)?;
    let listing = catalog
        .root()
        .and_then(|root| catalog.list(&root))
        .map_err(failed)?;
    match listing.entry(&catalog, 0).map_err(no_view)? {
        (_, Found::Image(image)) => {
            OpenImage::open(&catalog, &image, &Snapshots::default()).map_err(failed)
        }
        (_, Found::Directory(..)) => Err(failed(io::Error::from(io::ErrorKind::IsADirectory))),
    }
}

/// Standard output, which keeps holes where it is a file.
struct Output {
    file: File,
    keeps_holes: bool,
}

impl Output {
    fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let appends = rustix::fs::fcntl_getfl(&file)?.contains(OFlags::APPEND);
        // Skipping leaves what is there: only behind the end that is a hole.
        let keeps_holes =
            metadata.is_file() && !appends && (&file).stream_position()? >= metadata.len();
        Ok(Self { file, keeps_holes })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Goes on behind `length` zeros.
    fn skip(&mut self, length: u64) -> io::Result<()> {
        if self.keeps_holes {
            // A view is no larger than the largest off_t.
            return self.file.seek(SeekFrom::Current(length as i64)).map(drop);
        }
        io::copy(&mut io::repeat(0).take(length), &mut self.file).map(drop)
    }

    /// A view ends with its footer, so no hole is left to be made at the end.
    fn finish(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
