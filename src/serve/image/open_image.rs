//! Opening a view and reading it: every read is checked against the version that was opened.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use log::warn;

use super::{Refusal, SnapshotError, Snapshots};
use crate::folder::catalog::{Catalog, Image};
use crate::folder::missing;
use crate::folder::opened::{Source, Stored};
use crate::folder::settle::Writers;
use crate::folder::source::{Freshness, SourceFile};
use crate::folder::writers::{self, FindWriters, Writer};
use disk::format::Damage;
use disk::gpt;
use disk::{ByteRange, Disk, Prefix};
use vhd::layout::Origin;
use vhd::view::{Filled, View};

/// Where the bytes of an opened view come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// The source itself, checked for changes at every read.
    Direct,
    /// A clone of the source, which nothing changes.
    Snapshot,
}

/// The part of a file system that has to be free for clones to be kept after their last close: a
/// twentieth.
const LEAST_FREE_SHARE: u64 = 20;

/// An opened view, shared by all who have it open.
#[derive(Debug)]
pub struct OpenImage {
    view: View<Source>,
    /// What a clone was made of, with the proof that it still is that.
    origin: Option<Box<Source>>,
    engine: Engine,
    /// Whether it is proven that no read mixes versions.
    is_settled: bool,
    /// Whether every write to the source makes another version of it, also after this view is closed.
    keeps_its_version: bool,
    stale: AtomicBool,
    /// Whether damage of it was logged.
    damage_is_logged: AtomicBool,
}

/// What becomes of a GPT whose backup is not at the end of the padded disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GptPolicy {
    /// It appears as it is.
    #[default]
    Keep,
    /// The view carries it with the backup at the end.
    Relocate,
}

/// How views are opened.
#[derive(Debug, Default)]
pub struct Opening {
    /// Which of them become snapshots.
    pub snapshots: Snapshots,
    /// What becomes of their partition tables.
    pub gpt: GptPolicy,
    /// What is done if a source is open for writing.
    pub writers: Writers,
    /// Who finds out who that is, if it is not this process.
    pub finder: Option<Arc<dyn FindWriters>>,
}

impl Opening {
    fn writers_of(&self, source: &SourceFile) -> Vec<Writer> {
        match &self.finder {
            Some(finder) => finder.writers_of(source.as_fd()),
            None => writers::of(source.as_fd()).collect(),
        }
    }
}

impl OpenImage {
    /// Opens the image as [`OpenImage::open`] does. If space or descriptors run out, `make_room` is
    /// called, and the image is opened once more if that freed any.
    ///
    /// # Errors
    ///
    /// As for [`OpenImage::open`].
    pub fn open_making_room(
        catalog: &Catalog,
        image: &Image,
        opening: &Opening,
        make_room: impl FnOnce() -> bool,
    ) -> Result<Self, Refusal> {
        match Self::open(catalog, image, opening) {
            Err(refusal) if refusal.is_shortage() && make_room() => {
                Self::open(catalog, image, opening)
            }
            opened => opened,
        }
    }

    /// Opens the image in the version that was found.
    ///
    /// # Errors
    ///
    /// If the source is another version by now; if it is being written and `opening` does not permit
    /// that; if `opening` demands what cannot be had; the file system's own.
    pub fn open(catalog: &Catalog, image: &Image, opening: &Opening) -> Result<Self, Refusal> {
        let source = catalog.open_source(image, opening.writers)?;
        let written = source.written_file();
        if let Some(file) = written
            && opening.writers == Writers::Refuse
        {
            return Err(Refusal::Written(opening.writers_of(file)));
        }
        let patches = if opening.gpt == GptPolicy::Relocate && !image.keeps_bytes() {
            let disk = Prefix::new(&source, image.disk_size());
            gpt::relocate(&disk, image.virtual_size())?
        } else {
            Vec::new()
        };
        let layout = image.layout(patches)?;
        let keeps_its_version = source.keeps_its_version(SystemTime::now());
        let beside = || catalog.open_folder_of(image);
        // A clone fails if the source has changed since it was opened, so patches fit it.
        let clone = match written {
            Some(file) if opening.writers == Writers::Snapshot => {
                let clone = opening.snapshots.demand(&source, &layout, beside);
                // The next is of another moment, and its times may be the same.
                catalog.give_up(image);
                let refused = |error| Refusal::WrittenUncloned(opening.writers_of(file), error);
                Some(clone.map_err(refused)?)
            }
            _ => opening.snapshots.take(&source, &layout, beside)?,
        };
        if clone.is_some() && written.is_none() && source.check()? != Freshness::Current {
            return Err(SnapshotError::Changed.into());
        }
        let (source, origin, engine) = match clone {
            // The clone has the body at the same offsets, so the same layout fits.
            Some(clone) => {
                let clone = SourceFile::new(clone, source.path()).map_err(SnapshotError::Finish)?;
                let clone = Source::flat(clone, source.size());
                let origin = source.is_settled().then(|| Box::new(source));
                (clone, origin, Engine::Snapshot)
            }
            None => (source, None, Engine::Direct),
        };
        Ok(Self {
            origin,
            is_settled: engine == Engine::Snapshot || source.is_settled(),
            keeps_its_version,
            view: View::new(layout, source),
            engine,
            stale: AtomicBool::new(false),
            damage_is_logged: AtomicBool::new(false),
        })
    }

    /// Whether it is proven that no read mixes versions. If it is not, what was read must not be
    /// cached for others.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Whether what is read of the view stays right after it was closed, for as long as its source
    /// shows the same version.
    pub fn keeps_its_version(&self) -> bool {
        self.is_settled && self.keeps_its_version
    }

    /// The bytes of the view, without the promise that they are all of one version: call
    /// [`OpenImage::check`] after using them.
    pub fn view(&self) -> &View<Source> {
        &self.view
    }

    /// Where the bytes come from.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// A file that holds the whole view, which the kernel may serve by itself.
    pub fn whole_file(&self) -> Option<BorrowedFd<'_>> {
        self.body().filter(|_| self.engine == Engine::Snapshot)
    }

    /// Whether the bytes of the source lie in one file as they are.
    pub fn is_flat(&self) -> bool {
        self.body().is_some()
    }

    /// The file that holds the whole source's bytes at the offsets that they have in the view; `None` if
    /// there is no such file.
    fn body(&self) -> Option<BorrowedFd<'_>> {
        self.view.source().flat_file().map(AsFd::as_fd)
    }

    /// Where the bytes at the beginning of `range` lie as they are, and how many; `None` if they are
    /// made, decoded or zeros.
    ///
    /// # Errors
    ///
    /// As for [`OpenImage::read`].
    pub fn stored_at(&self, range: ByteRange) -> io::Result<Option<Stored<'_>>> {
        let piece = self.view.layout().pieces(range).next();
        let Some(piece) = piece.filter(|piece| piece.origin == Origin::Source) else {
            return Ok(None);
        };
        let stored = self.view.source().stored_at(piece.range);
        stored.map_err(|error| self.check().err().unwrap_or(error))
    }

    /// Size of the view in bytes.
    pub fn size(&self) -> u64 {
        self.view.layout().view_size()
    }

    /// Reads the bytes of the view that begin at `offset` into the whole of `buffer`.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the source has changed since it was opened; the source's own error. The
    /// bytes in `buffer` mean nothing then.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<Filled> {
        self.guarded(|| self.view.read(buffer, offset))
    }

    /// Finds the next data at or behind `offset`; see [`View::seek_data`].
    ///
    /// # Errors
    ///
    /// As for [`OpenImage::read`].
    pub fn seek_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.guarded(|| self.view.seek_data(offset))
    }

    /// Finds the next hole at or behind `offset`; see [`View::seek_hole`].
    ///
    /// # Errors
    ///
    /// As for [`OpenImage::read`].
    pub fn seek_hole(&self, offset: u64) -> io::Result<Option<u64>> {
        self.guarded(|| self.view.seek_hole(offset))
    }

    /// Fails if the source has changed since it was opened.
    ///
    /// # Errors
    ///
    /// `ESTALE` then, and for good.
    pub fn check(&self) -> io::Result<()> {
        if self.engine == Engine::Snapshot {
            return Ok(());
        }
        let is_stale = self.stale.load(Ordering::Acquire);
        if !is_stale && self.view.source().check()? == Freshness::Current {
            return Ok(());
        }
        if !self.stale.swap(true, Ordering::AcqRel) {
            let path = self.view.source().path();
            warn!(
                "{}: changed while it was open; reads of it now fail with ESTALE [changed]",
                path.display()
            );
        }
        Err(missing::stale())
    }

    /// Fails if an open of the view would now find another version of it.
    ///
    /// # Errors
    ///
    /// `ESTALE` then; looking the name up again finds it.
    pub fn check_for_newcomers(&self) -> io::Result<()> {
        self.check()?;
        match &self.origin {
            Some(origin) if origin.check()? != Freshness::Current => Err(missing::stale()),
            _ => Ok(()),
        }
    }

    /// Whether it is a clone of which it can be told later that its source is the same: see
    /// [`OpenImage::is_worth_keeping`].
    pub fn may_be_kept(&self) -> bool {
        self.engine == Engine::Snapshot && self.origin.is_some()
    }

    /// Whether it can be opened again later as it is, and being open until then is in nobody's way: a
    /// clone of what nobody has written to, deleted, or needs the space of.
    pub fn is_worth_keeping(&self) -> bool {
        let (Some(origin), Some(clone)) = (&self.origin, self.whole_file()) else {
            return false;
        };
        origin
            .check()
            .is_ok_and(|found| found == Freshness::Current)
            && !origin.is_deleted()
            && has_room(clone)
    }

    /// Looks at the version after the bytes were taken and before anybody gets them. A change also
    /// explains an error, such as a read behind the new end.
    fn guarded<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.is_settled {
            // Without proof, a check before the read finds a little more.
            self.check()?;
        }
        let result = operation();
        self.check()?;
        if let Err(error) = &result
            && let Some(damage) = Damage::of(error)
            && !self.damage_is_logged.swap(true, Ordering::AcqRel)
        {
            let path = self.view.source().path();
            warn!(
                "{}: damaged: {damage}; reads of that part of it fail with EIO [damaged]",
                path.display()
            );
        }
        result
    }
}

/// Whether the file system of a clone has more than a little free space.
fn has_room(clone: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatvfs(clone)
        .is_ok_and(|found| found.f_bavail >= found.f_blocks / LEAST_FREE_SHARE)
}
