//! Opening what was found, in the version in which it was found.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::chain::OpenError;
use super::contents::Contents;
use super::entry::Location;
use super::{Catalog, Directory, Image};
use crate::folder::beneath;
use crate::folder::metadata::Metadata;
use crate::folder::missing;
use crate::folder::opened::Source;
use crate::folder::settle::Writers;
use crate::folder::source::{Freshness, SourceFile};
use disk::Disk;
use disk::format::Given;

impl Catalog {
    /// Opens an image in the version that was found: every file that its disk is read from. They
    /// are settled if that is possible. If one of them is being written and `writers` refuses that, what
    /// is returned has that file, and no disk.
    ///
    /// # Errors
    ///
    /// `ESTALE` if one of them is another version by now, was given up, or is gone; the file
    /// system's own.
    pub fn open_source(&self, image: &Image, writers: Writers) -> io::Result<Source> {
        let source = self.open_settled(image, writers)?;
        if source.written_file().is_some() && writers == Writers::Refuse {
            return Ok(source);
        }
        // Only now: until it was settled, it may have been given up.
        if self.number_given_up(image) != image.given_up {
            return Err(missing::stale());
        }
        // Its times may be those of what was there when it was looked into, and its contents not.
        let is_lasting = image.is_lasting && source.keeps_its_version(SystemTime::now());
        if !is_lasting && !self.still_holds(image, &source.files()[0])? {
            self.give_up(image);
            return Err(missing::stale());
        }
        Ok(source)
    }

    /// Makes sure that the versions never count as the same again, because a write need not
    /// show in their times.
    pub fn give_up(&self, image: &Image) {
        let given_up = self.settling.given_up();
        given_up.note(image.metadata.version);
        image
            .further_versions()
            .for_each(|version| given_up.note(*version));
        given_up.tell();
    }

    /// What was given up of the image's versions: the same number again only if nothing was since.
    pub(super) fn number_given_up(&self, image: &Image) -> u64 {
        let given_up = self.settling.given_up();
        let of_all = std::iter::once(&image.metadata.version).chain(image.further_versions());
        of_all.fold(0, |sum: u64, version| {
            // Spread, so that no two orders of numbers add up to the same.
            sum.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(given_up.number_of(version))
        })
    }

    /// Settles an opened file; `Ok(false)` if it is being written and that is refused.
    fn settle(&self, file: &mut SourceFile, writers: Writers) -> io::Result<bool> {
        file.settle(&self.settling, writers.patience())?;
        if file.is_written() && writers != Writers::Allow {
            // A snapshot is of one moment, whatever was written before it.
            return Ok(writers == Writers::Snapshot);
        }
        match file.check()? {
            Freshness::Current => Ok(true),
            // A writer who was there before may have changed it after it was found.
            _ => Err(missing::stale()),
        }
    }

    fn open_settled(&self, image: &Image, writers: Writers) -> io::Result<Source> {
        let mut main = self.open_file_of(image)?;
        let (found, opened) = (image.metadata.version, main.metadata().version);
        let is_same_file = found.identity() == opened.identity() && found.size == opened.size;
        if found != opened && !(is_same_file && writers == Writers::Snapshot) {
            return Err(missing::stale());
        }
        if !self.settle(&mut main, writers)? {
            return Ok(Source::flat(main, 0));
        }
        // What is being written is of another time at every moment.
        if found != opened && !main.is_written() {
            return Err(missing::stale());
        }
        let Contents::Disks(disks) = &image.contents else {
            let size = main.size();
            return Ok(Source::flat(main, size));
        };
        let facts = disks.facts(image.disk).ok_or_else(missing::stale)?;
        if facts.flat_file == Some(0) {
            return Ok(Source::flat(main, facts.size));
        }
        let mut files = vec![Arc::new(main)];
        for known in &disks.further {
            let mut file = SourceFile::new(self.open_known(known)?, &known.real)?;
            if !self.settle(&mut file, writers)? {
                return Ok(Source::flat(file, 0));
            }
            files.push(Arc::new(file));
        }
        let given = Given {
            name: image.shown_path().to_string_lossy().into_owned(),
            identity: image.metadata.version.identity(),
            bytes: files[0].clone(),
        };
        let mut next = disks.further.iter().zip(&files[1..]);
        let (_, parsed) = self.parse(given, image.disk, |_| {
            // The same versions ask for the same files in the same order.
            let (known, file) = next.next().ok_or(OpenError::stale())?;
            Ok(known.given(file.clone()))
        });
        let disk = parsed.map_err(|error| error.into_io().unwrap_or_else(io::Error::other))?;
        Ok(Source::of_files(files, disk))
    }

    fn open_file_of(&self, image: &Image) -> io::Result<SourceFile> {
        let file = self.open_image(image).map_err(missing::gone_is_stale)?;
        SourceFile::new(file, &image.shown_path())
    }

    /// Opens the folder that holds the bytes of an image.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn open_folder_of(&self, image: &Image) -> io::Result<OwnedFd> {
        let folder = match &image.location {
            Location::Linked(path) => path.parent().unwrap_or(Path::new("")),
            _ => &image.directory.real,
        };
        self.folder.open_directory(folder)
    }

    pub(super) fn open_image(&self, image: &Image) -> io::Result<OwnedFd> {
        match &image.location {
            Location::Entry => self.folder.open_image(&image.real_path()),
            Location::Linked(path) => self.folder.open_image(path),
            Location::Device(path) => beneath::open_path(path),
        }
    }

    pub(super) fn open_directory(&self, directory: &Directory) -> io::Result<OwnedFd> {
        let handle = self
            .folder
            .open_directory(&directory.real)
            .map_err(missing::gone_is_stale)?;
        directory.check(&Metadata::of(handle.as_fd())?)?;
        Ok(handle)
    }
}
