//! Real uploaders stream mounted images into a real, if emulated, Azure blob service, and the
//! oracle's bytes arrive.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::harness::azurite::{Container, Transfers};
use crate::harness::snapshot::Snapshot;
use crate::harness::{
    Azurite, Lab, MIB, Mount, oracle_verify, random_image, set_mtime, snapshot_of, sparse_image,
};

/// (source, blob), both below their folders, by blob.
const IMAGES: [(&str, &str); 5] = [
    ("aligned.raw", "aligned.vhd"),
    ("sub/deep/sparse.raw", "sub/deep/sparse.vhd"),
    ("sub/odd.img", "sub/odd.vhd"),
    ("tiny.dd", "tiny.vhd"),
    ("with space.RAW", "with space.vhd"),
];

/// What azcopy and the SDK send at once: a page blob gets the chunks that are not all zeros.
const CHUNK: u64 = 4 * MIB;

/// A source folder to upload: aligned, unaligned and one-byte images, nested folders, holes.
fn make_images(source: &Path) -> Snapshot {
    random_image(&source.join("aligned.raw"), 1, 20 * MIB);
    random_image(&source.join("sub/odd.img"), 2, 9 * MIB + 513);
    random_image(&source.join("tiny.dd"), 3, 1);
    random_image(&source.join("with space.RAW"), 4, CHUNK);
    // Data at a chunk's last byte, across two chunks, and in the one before the unaligned end.
    let data = [
        (2 * CHUNK - 1, 1),
        (5 * CHUNK - 100, 5000),
        (11 * CHUNK, 1 << 20),
    ];
    sparse_image(&source.join("sub/deep/sparse.raw"), 5, 63 * MIB + 1, &data);
    for (name, _) in IMAGES {
        set_mtime(&source.join(name), 1_700_000_000, 123_456_789);
    }
    snapshot_of(source)
}

/// The chunks of a view that are not all zeros, neighbours joined: the source's, and the footer's.
fn expected_pages(raw: &Path) -> Vec<(u64, u64)> {
    let file = File::open(raw).expect("a source");
    let size = file.metadata().expect("its size").len();
    let footer = size.next_multiple_of(MIB);
    let zeros = vec![0; CHUNK as usize];
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for start in (0..footer + 512).step_by(CHUNK as usize) {
        let end = (start + CHUNK).min(footer + 512);
        let mut body = vec![0; end.min(size).saturating_sub(start) as usize];
        file.read_exact_at(&mut body, start).expect("read a source");
        if end <= footer && body[..] == zeros[..body.len()] {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => ranges.push((start, end)),
        }
    }
    ranges
}

/// Images to upload, and a container of a service of their own to put them into.
struct Upload {
    lab: Lab,
    source: PathBuf,
    before: Snapshot,
    container: Container,
}

impl Upload {
    fn new() -> Self {
        let lab = Lab::new();
        let source = lab.folder("source");
        let before = make_images(&source);
        Self {
            container: Azurite::start().container("images"),
            lab,
            source,
            before,
        }
    }

    /// Mounts the images for as long as `upload` takes.
    fn mounted<T>(&self, upload: impl FnOnce(&Mount) -> T) -> T {
        let mount = Mount::new(&self.source);
        let result = upload(&mount);
        mount.unmount();
        result
    }

    /// Every blob has the oracle's bytes for its source.
    fn assert_downloads(&self) {
        let downloads = self.lab.folder("downloads");
        self.container.download(&downloads);
        for (raw, blob) in IMAGES {
            oracle_verify(&self.source.join(raw), &downloads.join(blob));
        }
    }

    fn assert_sources_unchanged(&self) {
        self.before.assert_unchanged(&self.source);
    }
}

#[test]
fn azcopy_uploads_page_blobs_once() {
    let upload = Upload::new();
    let all = IMAGES.len() as u64;
    let send =
        |options: &[&str]| upload.mounted(|mount| upload.container.azcopy(mount.path(), options));

    let first = send(&[]);
    assert_eq!((first.completed, first.failed, first.skipped), (all, 0, 0));
    let blobs = upload.container.blobs();
    assert_eq!(blobs.len(), IMAGES.len());
    let mut pages = 0;
    for ((raw, name), blob) in IMAGES.iter().zip(blobs) {
        let raw = upload.source.join(raw);
        let size = raw.metadata().expect("a source").len();
        assert_eq!(blob.name, *name);
        assert_eq!(blob.kind, "PageBlob", "{name}");
        assert_eq!(blob.size, size.next_multiple_of(MIB) + 512, "{name}");
        assert_eq!(blob.pages, expected_pages(&raw), "{name}");
        pages += blob
            .pages
            .iter()
            .map(|(start, end)| end - start)
            .sum::<u64>();
    }
    assert_eq!(first.bytes_sent, pages, "bytes sent are the pages stored");
    upload.assert_downloads();

    // A new mount shows the same files with the same times: there is nothing to send.
    let nothing = Transfers {
        completed: 0,
        failed: 0,
        skipped: all,
        bytes_sent: 0,
    };
    assert_eq!(send(&["--overwrite=ifSourceNewer"]), nothing);
    upload.assert_sources_unchanged();

    // A source that is written anew is sent again, and nothing else.
    let tiny = upload.source.join("tiny.dd");
    random_image(&tiny, 6, 2);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    set_mtime(&tiny, now + 60, 0);
    let changed = send(&["--overwrite=ifSourceNewer"]);
    assert_eq!((changed.completed, changed.skipped), (1, all - 1));
    upload.assert_downloads();
}

#[test]
fn the_python_sdk_uploads_page_blobs() {
    let upload = Upload::new();
    upload.mounted(|mount| {
        for (_, name) in IMAGES {
            upload.container.upload(&mount.join(name), name);
        }
    });
    for ((raw, _), blob) in IMAGES.iter().zip(upload.container.blobs()) {
        assert_eq!(blob.kind, "PageBlob", "{}", blob.name);
        let expected = expected_pages(&upload.source.join(raw));
        assert_eq!(blob.pages, expected, "{}", blob.name);
    }
    upload.assert_downloads();
    upload.assert_sources_unchanged();
}

#[test]
fn rclone_uploads_block_blobs() {
    let upload = Upload::new();
    upload.mounted(|mount| upload.container.rclone(mount.path()));
    let blobs = upload.container.blobs();
    assert_eq!(blobs.len(), IMAGES.len());
    assert!(
        blobs.iter().all(|blob| blob.kind == "BlockBlob"),
        "{blobs:?}"
    );
    upload.assert_downloads();
    upload.assert_sources_unchanged();
}
