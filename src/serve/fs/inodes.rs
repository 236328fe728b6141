//! Inode numbers: each stands for one version of one entry.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use siphasher::sip::SipHasher13;

use super::Error;
use crate::folder::catalog::{Directory, Found, Image};
use crate::folder::metadata::Version;

/// Inode number of the folder at the top (`FUSE_ROOT_ID`).
pub const ROOT: u64 = 1;

/// Keys of the hash that numbers inodes. They never change, so that numbers do not either.
const KEYS: (u64, u64) = (0x7668_6466_7320_696e, 0x6f64_6520_6e75_6d62);

/// What an inode number stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A folder.
    Directory(Arc<Directory>),
    /// An image in one version.
    Image(Arc<Image>),
}

/// The inodes that the kernel knows, with the number of references that it holds to each.
#[derive(Debug)]
pub(super) struct Inodes {
    known: Mutex<HashMap<u64, Known>>,
}

#[derive(Debug)]
struct Known {
    node: Node,
    lookups: u64,
    /// Whether all that the kernel may have cached of it was read when it was a version that no
    /// writer can leave as it is.
    is_cache_lasting: bool,
}

/// What makes two entries the same inode.
#[derive(Eq, Hash, PartialEq)]
enum Key<'a> {
    Directory(&'a std::path::Path, (u64, u64, u64)),
    // The name is part of the footer, so hard links of one file are different disks.
    Image {
        folder: &'a std::path::Path,
        name: &'a std::ffi::OsStr,
        disk: Option<u32>,
        /// Of the image itself, then of its further files.
        versions: Vec<Version>,
        given_up: u64,
    },
}

impl Inodes {
    /// Knows nothing but the folder at the top.
    pub(super) fn new(root: Arc<Directory>) -> Self {
        let root = Known {
            node: Node::Directory(root),
            lookups: 1,
            is_cache_lasting: false,
        };
        Self {
            known: Mutex::new(HashMap::from([(ROOT, root)])),
        }
    }

    /// What the inode number stands for; `None` if the kernel does not know it.
    pub(super) fn get(&self, inode: u64) -> Option<Node> {
        self.lock().get(&inode).map(|known| known.node.clone())
    }

    /// The inode number of an entry, with one more reference of the kernel to it. [`Inodes::forget`]
    /// takes that back. The only error is [`Error::OutOfMemory`].
    pub(super) fn remember(&self, found: &Found) -> Result<u64, Error> {
        let key = Key::of_found(found);
        let mut known = self.lock();
        known.try_reserve(1)?;
        let mut inode = key.number();
        loop {
            match known.entry(inode) {
                Entry::Vacant(place) => {
                    place.insert(Known {
                        node: Node::of(found),
                        lookups: 1,
                        is_cache_lasting: false,
                    });
                    return Ok(inode);
                }
                Entry::Occupied(mut place) if Key::of_node(&place.get().node) == key => {
                    // Blocks may be allocated late, without any other trace.
                    place.get_mut().node = Node::of(found);
                    place.get_mut().lookups += 1;
                    return Ok(inode);
                }
                // Two entries with one hash: the next free number is as good.
                Entry::Occupied(_) => inode = next(inode),
            }
        }
    }

    /// Whether what the kernel has cached of a view is still right when it is opened again. If
    /// not, the kernel has to drop it; what is cached after that counts as lasting if
    /// `keeps_its_version`.
    pub(super) fn may_keep_cache(&self, inode: u64, keeps_its_version: bool) -> bool {
        let mut known = self.lock();
        let Some(known) = known.get_mut(&inode) else {
            return false;
        };
        let may_keep = known.is_cache_lasting && keeps_its_version;
        known.is_cache_lasting = keeps_its_version;
        may_keep
    }

    /// The kernel dropped `count` references to the inode.
    pub(super) fn forget(&self, inode: u64, count: u64) {
        if inode == ROOT {
            return;
        }
        if let Entry::Occupied(mut place) = self.lock().entry(inode) {
            let lookups = place.get().lookups.saturating_sub(count);
            place.get_mut().lookups = lookups;
            if lookups == 0 {
                place.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock()
    }
}

/// The inode number that a folder listing shows for an entry, without a reference of the kernel to it.
pub(super) fn number_of(found: &Found) -> u64 {
    Key::of_found(found).number()
}

/// The inode number that a folder listing shows for `..`, or for a folder at the top.
pub(super) fn number_of_directory(directory: &Directory) -> u64 {
    match directory.parent() {
        Some(_) => Key::of_directory(directory).number(),
        None => ROOT,
    }
}

impl Node {
    fn of(found: &Found) -> Self {
        match found {
            Found::Directory(directory, _) => Self::Directory(directory.clone()),
            Found::Image(image) => Self::Image(Arc::new(image.clone())),
        }
    }
}

impl<'a> Key<'a> {
    fn of_found(found: &'a Found) -> Self {
        match found {
            Found::Directory(directory, _) => Self::of_directory(directory),
            Found::Image(image) => Self::of_image(image),
        }
    }

    fn of_node(node: &'a Node) -> Self {
        match node {
            Node::Directory(directory) => Self::of_directory(directory),
            Node::Image(image) => Self::of_image(image),
        }
    }

    fn of_directory(directory: &'a Directory) -> Self {
        Self::Directory(directory.shown_path(), directory.identity())
    }

    fn of_image(image: &'a Image) -> Self {
        let further = image.further_versions().copied();
        Self::Image {
            folder: image.directory().shown_path(),
            name: image.name(),
            disk: image.disk_number(),
            versions: std::iter::once(image.metadata().version)
                .chain(further)
                .collect(),
            given_up: image.given_up(),
        }
    }

    /// The same for the same entry, also after a remount: tools that compare inode numbers then
    /// see nothing new.
    fn number(&self) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
        self.hash(&mut hasher);
        next(hasher.finish())
    }
}

/// The next number that is neither 0, which means no inode, nor the root's.
fn next(number: u64) -> u64 {
    number.wrapping_add(1).max(ROOT + 1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::folder::catalog::{Catalog, Options};

    fn found(catalog: &Catalog) -> Found {
        let listing = catalog.list(&catalog.root().unwrap()).unwrap();
        listing.entries(catalog, 0).next().unwrap().unwrap().1
    }

    fn write(folder: &Path, text: &str) {
        std::fs::write(folder.join("a.raw"), text).unwrap();
    }

    #[test]
    fn what_the_kernel_has_forgotten_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "disk");
        let catalog = Catalog::open(folder.path(), Options::default()).unwrap();
        let inodes = Inodes::new(catalog.root().unwrap());
        let old = inodes.remember(&found(&catalog)).unwrap();
        assert_eq!(inodes.remember(&found(&catalog)).unwrap(), old);
        write(folder.path(), "another disk");
        let new = inodes.remember(&found(&catalog)).unwrap();
        assert_ne!(new, old);
        inodes.forget(old, 1);
        assert!(inodes.get(old).is_some(), "there were two references to it");
        inodes.forget(old, 1);
        inodes.forget(new, 1);
        inodes.forget(ROOT, 1);
        assert!(inodes.get(old).is_none() && inodes.get(new).is_none());
        assert_eq!(inodes.lock().len(), 1, "the root is never dropped");
    }
}
