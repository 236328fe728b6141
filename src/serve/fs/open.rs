//! Open views: all opens of an inode share one.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use log::{Level, debug, log, warn};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use sharded_slab::Slab;

use super::Error;
use super::activity::{Activity, OpenView};
use super::keeper::{Keepable, Keeper, Waker};
use crate::folder::catalog::{Catalog, Image};
use crate::serve::image::{OpenImage, Opening, Refusal};

/// Number of inodes whose warnings are known to be in the log.
const WARNED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The views that are open, by inode and by handle.
#[derive(Debug)]
pub(super) struct OpenImages {
    opening: Opening,
    /// Inodes whose warnings were logged.
    warned: Mutex<LruCache<u64, ()>>,
    by_inode: Mutex<HashMap<u64, Shared>>,
    // Looked up by every read without a lock.
    by_handle: Slab<Arc<Handle>>,
    /// Clones that nobody has open any more.
    kept: Keeper<OpenImage>,
    activity: Arc<Activity>,
}

impl Keepable for OpenImage {
    fn is_worth_keeping(&self) -> bool {
        Self::is_worth_keeping(self)
    }

    fn tell_given_up(&self) {
        let path = self.view().source().path();
        debug!("{}: its clone is given up early", path.display());
    }
}

/// One open of a view.
#[derive(Debug)]
pub(super) struct Handle {
    inode: u64,
    pub(super) image: Arc<OpenImage>,
    pub(super) activity: OpenView,
}

/// A view that is open or being opened, and for how many.
#[derive(Debug)]
struct Shared {
    image: Arc<Mutex<Option<Arc<OpenImage>>>>,
    users: usize,
}

impl OpenImages {
    /// Nothing is open yet.
    pub(super) fn new(opening: Opening) -> Self {
        let activity = Arc::<Activity>::default();
        Self {
            opening,
            warned: Mutex::new(LruCache::new(WARNED)),
            by_inode: Mutex::default(),
            by_handle: Slab::new(),
            kept: Keeper::counted_by(activity.kept_count()),
            activity,
        }
    }

    /// To be called when a source was written to, or may have been.
    pub(super) fn waker(&self) -> Waker<OpenImage> {
        self.kept.waker()
    }

    /// Opens the inode's view for the process `pid`, or joins those who have it open; returns a
    /// handle and the view.
    pub(super) fn open(
        &self,
        catalog: &Catalog,
        inode: u64,
        image: &Image,
        pid: u32,
    ) -> Result<(u64, Arc<OpenImage>), Error> {
        let place = self.join(inode, image);
        let opened = shared_or_new(&place, || {
            let opened =
                OpenImage::open_making_room(catalog, image, &self.opening, || self.kept.clear());
            let opened = opened.map_err(|refusal| logged(image, refusal))?;
            self.log_warnings(inode, image, &opened);
            Ok(opened)
        });
        let handle = opened.and_then(|opened| {
            let (path, engine) = (image.shown_path(), opened.engine());
            let activity = self.activity.opened(&path, opened.size(), engine, pid);
            let handle = self.by_handle.insert(Arc::new(Handle {
                inode,
                image: opened.clone(),
                activity,
            }));
            let handle = handle.ok_or(Error::TooManyOpen)?;
            Ok((handle as u64, opened))
        });
        if let Err(error) = &handle {
            self.activity.refused(error);
            self.leave(inode);
        }
        handle
    }

    /// What is open and was read.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Logs the warnings about a view, once for each inode.
    fn log_warnings(&self, inode: u64, image: &Image, opened: &OpenImage) {
        let known = self.warned.lock().put(inode, ());
        if known.is_some() {
            return;
        }
        // A reader of the view gets the error, if it lasts.
        let warnings = vhd::warnings(opened.view(), !image.keeps_bytes()).unwrap_or_default();
        for warning in warnings {
            // With --min-size, the table is meant to reach the new end.
            let is_left_behind = image.is_grown() && warning.ends_with(vhd::RELOCATE_REMEDY);
            let level = if is_left_behind {
                Level::Warn
            } else {
                Level::Info
            };
            log!(
                level,
                "{}: {warning} [warning]",
                image.shown_path().display()
            );
        }
    }

    /// The view that a handle stands for.
    pub(super) fn get(&self, handle: u64) -> Option<Arc<Handle>> {
        let handle = self.by_handle.get(handle as usize)?;
        Some(handle.clone())
    }

    /// Closes a handle; the last one of an inode closes the view.
    pub(super) fn release(&self, handle: u64) {
        if let Some(handle) = self.by_handle.take(handle as usize) {
            self.leave(handle.inode);
        }
    }

    /// The place of the inode's view, for one more who has it open. What was kept of it is there.
    fn join(&self, inode: u64, image: &Image) -> Arc<Mutex<Option<Arc<OpenImage>>>> {
        let mut by_inode = self.lock();
        let shared = by_inode.entry(inode).or_insert_with(|| {
            let kept = self.kept.take(inode);
            if kept.is_some() {
                debug!(
                    "{}: opened again: its clone was kept",
                    image.shown_path().display()
                );
            }
            Shared {
                image: Arc::new(Mutex::new(kept)),
                users: 0,
            }
        });
        shared.users += 1;
        shared.image.clone()
    }

    /// One less has the inode's view open. After the last, a clone is kept for a while.
    fn leave(&self, inode: u64) {
        let mut by_inode = self.lock();
        let Some(shared) = by_inode.get_mut(&inode) else {
            return;
        };
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        let left = by_inode.remove(&inode);
        // Nobody else has the place, so nobody holds its lock. Who comes now must find what is kept.
        let image = left.and_then(|left| left.image.lock().take());
        if let Some(image) = image
            && image.may_be_kept()
        {
            self.kept.keep(inode, image);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Shared>> {
        self.by_inode.lock()
    }
}

/// Logs why the view of `image` is refused; a change of the source needs no log entry, nor does its own error.
fn logged(image: &Image, refusal: Refusal) -> Error {
    let (is_own, text) = (matches!(refusal, Refusal::Source(_)), refusal.to_string());
    let error = Error::from(refusal);
    if !is_own && !matches!(error, Error::Stale) {
        warn!(
            "{}: cannot be opened: {text} [cannot-open]",
            image.shown_path().display()
        );
    }
    error
}

/// Others who open the same inode meanwhile wait for the first.
fn shared_or_new(
    place: &Mutex<Option<Arc<OpenImage>>>,
    open: impl FnOnce() -> Result<OpenImage, Error>,
) -> Result<Arc<OpenImage>, Error> {
    let mut place = place.lock();
    if let Some(image) = &*place {
        // A stale view must not be opened again: the error makes the kernel look the name up anew.
        image.check_for_newcomers()?;
        return Ok(image.clone());
    }
    let image = Arc::new(open()?);
    *place = Some(image.clone());
    Ok(image)
}
