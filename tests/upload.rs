//! Real uploaders stream mounted images into a real, if emulated, Azure blob service, and the
//! oracle's bytes arrive.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

use common::azurite::Transfers;
use common::snapshot::Snapshot;
use common::{
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

/// Every blob has the oracle's bytes for its source.
fn assert_downloads(source: &Path, downloads: &Path) {
    for (raw, blob) in IMAGES {
        oracle_verify(&source.join(raw), &downloads.join(blob));
    }
}

#[test]
fn azcopy_uploads_page_blobs_once() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let before = make_images(&source);
    let service = Azurite::start();
    let container = service.container("images");
    let all = IMAGES.len() as u64;

    let mount = Mount::new(&source);
    let first = container.azcopy(mount.path(), &[]);
    mount.unmount();
    assert_eq!((first.completed, first.failed, first.skipped), (all, 0, 0));

    let blobs = container.blobs();
    assert_eq!(blobs.len(), IMAGES.len());
    let mut pages = 0;
    for ((raw, name), blob) in IMAGES.iter().zip(blobs) {
        let raw = source.join(raw);
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
    let downloads = lab.folder("downloads");
    container.download(&downloads);
    assert_downloads(&source, &downloads);

    // A new mount shows the same files with the same times: there is nothing to send.
    let mount = Mount::new(&source);
    let again = container.azcopy(mount.path(), &["--overwrite=ifSourceNewer"]);
    mount.unmount();
    let nothing = Transfers {
        completed: 0,
        failed: 0,
        skipped: all,
        bytes_sent: 0,
    };
    assert_eq!(again, nothing);
    before.assert_unchanged(&source);

    // A source that is written anew is sent again, and nothing else.
    random_image(&source.join("tiny.dd"), 6, 2);
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    set_mtime(&source.join("tiny.dd"), now + 60, 0);
    let mount = Mount::new(&source);
    let changed = container.azcopy(mount.path(), &["--overwrite=ifSourceNewer"]);
    mount.unmount();
    assert_eq!((changed.completed, changed.skipped), (1, all - 1));
    container.download(&downloads);
    assert_downloads(&source, &downloads);
}

#[test]
fn the_python_sdk_uploads_page_blobs() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let before = make_images(&source);
    let service = Azurite::start();
    let container = service.container("images");

    let mount = Mount::new(&source);
    for (_, name) in IMAGES {
        container.upload(&mount.join(name), name);
    }
    mount.unmount();
    for ((raw, _), blob) in IMAGES.iter().zip(container.blobs()) {
        assert_eq!(blob.kind, "PageBlob", "{}", blob.name);
        let expected = expected_pages(&source.join(raw));
        assert_eq!(blob.pages, expected, "{}", blob.name);
    }
    let downloads = lab.folder("downloads");
    container.download(&downloads);
    assert_downloads(&source, &downloads);
    before.assert_unchanged(&source);
}

#[test]
fn rclone_uploads_block_blobs() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let before = make_images(&source);
    let service = Azurite::start();
    let container = service.container("images");

    let mount = Mount::new(&source);
    container.rclone(mount.path());
    mount.unmount();
    let blobs = container.blobs();
    assert_eq!(blobs.len(), IMAGES.len());
    assert!(
        blobs.iter().all(|blob| blob.kind == "BlockBlob"),
        "{blobs:?}"
    );
    let downloads = lab.folder("downloads");
    container.download(&downloads);
    assert_downloads(&source, &downloads);
    before.assert_unchanged(&source);
}
