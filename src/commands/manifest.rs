//! `vhdfs manifest`: sums of views.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use thiserror::Error;

use super::atomic::AtomicFile;
use super::print::ignore_closed;
use super::progress::Progress;
use super::view::{self, Choice, Named, ViewError};
use super::{Failure, catalog_options};
use crate::cli::{ManifestArgs, ViewArgs};
use crate::folder::catalog::{self, Catalog, Directory, Found, Image};
use crate::folder::settle::Writers;
use crate::proof::{self, HashError, Manifest, ViewSums};
use crate::serve::image::{OpenImage, Policy};
use vhd::view::Filled;

/// Why there is no manifest.
#[derive(Debug, Error)]
enum SumError {
    #[error("{}: holds no image that appears; `vhdfs list` tells why [no-images]", .0.display())]
    Nothing(PathBuf),
    #[error("{}: cannot be hashed: {} [unreadable]", .0.display(), .1)]
    Hash(PathBuf, #[source] HashError),
}

/// An image that appears, and its view's path below the mount.
struct Shown {
    catalog: Arc<Catalog>,
    image: Image,
    view: PathBuf,
    path: PathBuf,
}

pub(super) fn run(args: &ManifestArgs) -> Result<(), Failure> {
    let images = match args.source.is_dir() {
        true => images_in(args)?,
        false => images_of(args)?,
    };
    if images.is_empty() {
        return Err(SumError::Nothing(args.source.clone()).into());
    }
    // Before hours of hashing, not after.
    let output = args.output.as_deref().map(AtomicFile::create).transpose()?;
    if let Some(output) = &output {
        for shown in &images {
            output.spare(&view::files_of(&shown.image))?;
        }
    }
    let manifest = sums_of(&images, args)?;
    match output {
        None => ignore_closed(write(&manifest, io::stdout().lock())),
        Some(output) => {
            let written = write(&manifest, output.file());
            written.map_err(|error| {
                let path = args.output.clone().unwrap_or_default();
                super::atomic::OutputError::Write(path, error)
            })?;
            Ok(output.commit()?)
        }
    }
}

fn write(manifest: &Manifest, output: impl Write) -> io::Result<()> {
    let mut output = BufWriter::with_capacity(1 << 16, output);
    serde_json::to_writer_pretty(&mut output, manifest)?;
    output.write_all(b"\n")?;
    output.flush()
}

/// The disks of the image that the user named.
fn images_of(args: &ManifestArgs) -> Result<Vec<Shown>, Failure> {
    let shown = |named: Result<Named, ViewError>| {
        let named = named?;
        Ok(Shown {
            catalog: named.catalog,
            image: named.image,
            view: named.name.into(),
            path: args.source.clone(),
        })
    };
    let choice = Choice::new(&args.selection, &args.view)?;
    let found = Named::find_all(&args.source, &choice)?;
    found.into_iter().map(shown).collect()
}

/// All images of the folder that appear, in the order of their views' paths.
fn images_in(args: &ManifestArgs) -> Result<Vec<Shown>, Failure> {
    let source = &args.source;
    let failed = ViewError::reading(source);
    let options = catalog_options(&args.selection, &args.view, false)?;
    let catalog = Arc::new(Catalog::open(source, options).map_err(&failed)?);
    let mut folders: Vec<Arc<Directory>> = vec![catalog.root().map_err(&failed)?];
    let mut images = Vec::new();
    while let Some(folder) = folders.pop() {
        let listing = catalog.list(&folder).map_err(&failed)?;
        for index in 0..listing.len() {
            for entry in listing.entries(&catalog, index) {
                match entry {
                    Ok((_, Found::Directory(inner, _))) => folders.push(inner),
                    Ok((view, Found::Image(image))) => images.push(Shown {
                        catalog: Arc::clone(&catalog),
                        view: folder.shown_path().join(view),
                        path: source.join(image.shown_path()),
                        image,
                    }),
                    // What does not appear has no view. What should and cannot be read is missed.
                    Err(catalog::Skip::Unreadable(error))
                        if error.kind() != io::ErrorKind::NotFound =>
                    {
                        let name = listing.name(index).unwrap_or_default();
                        let path = source.join(folder.shown_path()).join(name);
                        return Err(ViewError::Read(path, error).into());
                    }
                    Err(_) => {}
                }
            }
        }
    }
    images.sort_by(|one, two| one.view.cmp(&two.view));
    Ok(images)
}

/// How many threads take blocks of one view, and how many views are hashed at once.
///
/// The sums of a whole view keep one core busy each, whatever else there is; blocks are free of
/// that, and one view is enough for all cores.
fn shares(cores: usize, whole: bool) -> (usize, usize) {
    match whole {
        true => (2, cores.div_ceil(2).min(MOST_VIEWS)),
        false => (cores, 1),
    }
}

/// More views than this are not hashed at once: each takes some 40 MiB of memory.
const MOST_VIEWS: usize = 8;

fn sums_of(images: &[Shown], args: &ManifestArgs) -> Result<Manifest, Failure> {
    let size = images.iter().map(|shown| shown.image.view_size()).sum();
    let progress = Progress::new(size, "hashing");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (threads, at_once) = shares(cores, !args.blocks_only);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, shown)) = take(&next, images) {
            let sums = sums_of_one(shown, args, threads, &progress);
            if sums.is_err() {
                // Nobody begins another one.
                next.store(images.len(), Ordering::Release);
            }
            done.push((index, sums));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let spawn = || thread::Builder::new().name("view".into());
        let others = (1..at_once.min(images.len())).map_while(|_| {
            // Fewer threads are slower, and no less right.
            spawn().spawn_scoped(scope, work).ok()
        });
        let others: Vec<_> = others.collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_default());
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    let count = done.len();
    let views: Vec<_> = done
        .into_iter()
        .map(|(_, sums)| sums)
        .collect::<Result<_, _>>()?;
    match count == images.len() {
        true => Ok(Manifest::new(views)),
        false => Err(SumError::Hash(args.source.clone(), HashError::Thread).into()),
    }
}

fn take<'a>(next: &AtomicUsize, images: &'a [Shown]) -> Option<(usize, &'a Shown)> {
    let index = next
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
            (next < images.len()).then(|| next + 1)
        })
        .ok()?;
    images.get(index).map(|shown| (index, shown))
}

fn sums_of_one(
    shown: &Shown,
    args: &ManifestArgs,
    threads: usize,
    progress: &Progress,
) -> Result<ViewSums, Failure> {
    let image = open(shown, &args.view)?;
    let advance = |bytes| progress.advance(bytes);
    let sums = proof::hash(&Opened(&image), threads, !args.blocks_only, &advance);
    let sums = sums.map_err(|error| match error {
        HashError::Read(error) => Failure::from(ViewError::Read(shown.path.clone(), error)),
        error => SumError::Hash(shown.path.clone(), error).into(),
    })?;
    let failed = ViewError::reading(&shown.path);
    Ok(ViewSums {
        view: shown.view.to_string_lossy().into_owned(),
        view_size: image.size(),
        unique_id: view::unique_id(&image).map_err(failed)?.to_string(),
        sha256: sums.whole.map(|(sha256, _)| sha256),
        md5: sums.whole.map(|(_, md5)| md5),
        blocks: sums.blocks,
    })
}

fn open(shown: &Shown, args: &ViewArgs) -> Result<OpenImage, ViewError> {
    let opened = view::open(
        &shown.catalog,
        &shown.image,
        args,
        Policy::Never,
        Writers::Refuse,
    );
    opened.map_err(|refusal| view::refused(&shown.path, refusal))
}

/// An opened view as a source of bytes to hash.
struct Opened<'a>(&'a OpenImage);

impl proof::Source for Opened<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn is_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        let data = self.0.seek_data(offset)?;
        Ok(data.is_none_or(|data| data >= offset + length))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.0.read(buffer, offset)? == Filled::Zeros {
            buffer.fill(0);
        }
        Ok(())
    }
}
