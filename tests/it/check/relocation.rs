//! Relocated tables in the eyes of sfdisk, sgdisk and parted.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use disk::gpt::{RelocateError, relocate};
use disk::{Disk, Patch};
use vhd::footer::FOOTER_SIZE;
use vhd::{Layout, View};

use super::tools::{
    self, DATA, FileDisk, Folder, MIB, assert_findings, output, run, run_with_input, text_of,
};
use crate::harness::Loop;

const SCRIPT: &[u8] =
    b"label: gpt\nfirst-lba: 34\nstart=2048, size=2048, type=U\nsize=4096, name=data\n";

fn padded(size: u64) -> u64 {
    size.next_multiple_of(MIB)
}

fn patches(image: &Path) -> Result<Vec<Patch>, RelocateError> {
    let disk = FileDisk::open(image);
    relocate(&disk, padded(std::fs::metadata(image).unwrap().len()))
}

/// Copies of an image, padded as a view is: one as it was, one relocated.
fn views(folder: &Folder, image: &Path) -> (PathBuf, PathBuf) {
    let size = padded(std::fs::metadata(image).unwrap().len());
    let (kept, relocated) = (folder.copy("kept", image), folder.copy("relocated", image));
    for view in [&kept, &relocated] {
        File::options()
            .write(true)
            .open(view)
            .unwrap()
            .set_len(size)
            .unwrap();
    }
    for patch in patches(image).unwrap() {
        assert!(patch.offset + patch.bytes.len() as u64 <= size);
        tools::write_at(&relocated, patch.offset, &patch.bytes);
    }
    (kept, relocated)
}

/// What a tool has against the table of an image.
fn complaints(tool: &str, image: &Path) -> Option<String> {
    let path = &image as &dyn AsRef<std::ffi::OsStr>;
    let output = match tool {
        "sfdisk" => output("sfdisk", &[&"--verify", path], b""),
        "sgdisk" => output("sgdisk", &[&"-v", path], b""),
        _ => output("parted", &[&"-s", path, &"unit", &"s", &"print"], b""),
    };
    let text = text_of(&output);
    let lower = text.to_lowercase().replace("no errors detected", "");
    let bad = [
        "warning",
        "error",
        "problem:",
        "not all of the space",
        "corrupt",
        "caution",
        "mismatch",
    ];
    let complains = !output.status.success() || bad.iter().any(|word| lower.contains(word));
    complains.then_some(text)
}

/// The partitions as sfdisk sees them.
fn partitions(image: &Path) -> Vec<String> {
    let dump = run("sfdisk", &[&"--dump", &image]);
    let lines = dump.lines().filter_map(|line| line.split_once(" : "));
    lines.map(|(_, partition)| partition.to_owned()).collect()
}

/// Asserts that the tools accept the relocated table with these partitions, and not the kept one.
fn assert_relocation(folder: &Folder, image: &Path, expected: &[String]) {
    let (kept, relocated) = views(folder, image);
    for tool in ["sfdisk", "sgdisk", "parted"] {
        assert_eq!(complaints(tool, &relocated), None, "{tool}");
        let against = complaints(tool, &kept);
        assert!(against.is_some(), "{tool} accepts the kept table");
    }
    assert_same_but_tables(&kept, &relocated);
    assert_eq!(partitions(&relocated), expected);
    assert_findings(&relocated, DATA, &[]);
    let found = tools::ids(&tools::check(&kept, DATA));
    assert!(found.contains(&"gpt-backup-position"), "{found:?}");
}

/// `qemu-img compare` sees a difference in each patch, at an offset inside of it, and none beside
/// them all.
fn assert_compared(folder: &Folder, image: &Path) {
    let (kept, relocated) = views(folder, image);
    let patches = patches(image).unwrap();
    assert!(!patches.is_empty());
    let compare = |shown: Option<usize>| {
        let [kept, relocated] = [("a", &kept), ("b", &relocated)].map(|(name, view)| {
            let copy = folder.copy(name, view);
            for (index, patch) in patches.iter().enumerate() {
                if shown != Some(index) {
                    tools::write_at(&copy, patch.offset, &vec![0; patch.bytes.len()]);
                }
            }
            copy
        });
        let args: [&dyn AsRef<OsStr>; 7] =
            [&"compare", &"-f", &"raw", &"-F", &"raw", &kept, &relocated];
        let output = output("qemu-img", &args, b"");
        (output.status.code(), text_of(&output))
    };
    let same = (Some(0), "Images are identical.\n".to_owned());
    assert_eq!(compare(None), same);
    for (index, patch) in patches.iter().enumerate() {
        let (status, text) = compare(Some(index));
        assert_eq!(status, Some(1), "{text}");
        let at = text.strip_prefix("Content mismatch at offset ");
        let at: u64 = at
            .and_then(|rest| rest.trim_end().strip_suffix('!')?.parse().ok())
            .unwrap_or_else(|| panic!("no offset: {text}"));
        let end = patch.offset + patch.bytes.len() as u64;
        assert!((patch.offset..end).contains(&at), "{at}: {index}");
    }
}

#[test]
fn nothing_but_the_table_differs_for_qemu() {
    for size in [20 * MIB + 512, 30 * MIB + 77 * 512, 21 * MIB - 300] {
        let folder = Folder::new();
        let image = folder.sparse("disk.raw", size / 512 * 512);
        run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
        fill_partitions(&image);
        File::options()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(size)
            .unwrap();
        assert_compared(&folder, &image);
    }
}

/// Only the first two sectors and the last 33 differ.
fn assert_same_but_tables(kept: &Path, relocated: &Path) {
    let size = std::fs::metadata(kept).unwrap().len();
    let (kept, relocated) = (File::open(kept).unwrap(), File::open(relocated).unwrap());
    let read = |file: &File| {
        let mut bytes = vec![0; (size - 35 * 512) as usize];
        file.read_exact_at(&mut bytes, 1024).unwrap();
        bytes
    };
    assert!(read(&kept) == read(&relocated));
}

fn fill_partitions(image: &Path) {
    let bytes: Vec<u8> = (0..3 * MIB).map(|at| (at % 251) as u8).collect();
    tools::write_at(image, MIB, &bytes);
}

/// An image of `size` bytes that `divide` gives a table, with data in its partitions.
fn assert_relocation_of(size: u64, divide: impl FnOnce(&Path)) {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", size);
    divide(&image);
    fill_partitions(&image);
    assert_relocation(&folder, &image, &partitions(&image));
}

#[test]
fn tables_of_sfdisk() {
    for size in [20 * MIB + 512, 21 * MIB - 512, 22 * MIB + 300 * 512] {
        assert_relocation_of(size, |image| {
            run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
        });
    }
}

#[test]
fn tables_of_sgdisk() {
    assert_relocation_of(30 * MIB + 5 * 512, |image| {
        run("sgdisk", &[&"-n", &"1:2048:+1M", &"-t", &"1:ef02", &image]);
        run("sgdisk", &[&"-n", &"2:4096:+20M", &image]);
    });
}

#[test]
fn tables_of_parted() {
    assert_relocation_of(30 * MIB + 77 * 512, |image| {
        run(
            "parted",
            &[
                &"-s", &image, &"mklabel", &"gpt", &"mkpart", &"a", &"1MiB", &"9MiB",
            ],
        );
    });
}

/// An image whose length is no whole number of sectors.
#[test]
fn odd_lengths() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 20 * MIB + 512);
    run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
    let before = partitions(&image);
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(20 * MIB + 700)
        .unwrap();
    assert_relocation(&folder, &image, &before);
}

/// An image that was cut off behind its last partition, backup and all.
#[test]
fn cut_off_images() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 40 * MIB);
    run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
    let before = partitions(&image);
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(25 * MIB)
        .unwrap();
    assert_relocation(&folder, &image, &before);
    assert_findings(&image, DATA, &["gpt-backup-position", "gpt-backup-damaged"]);
}

#[test]
fn aligned_and_mbr_disks_keep_every_byte() {
    let folder = Folder::new();
    let image = folder.sparse("aligned.raw", 20 * MIB);
    run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
    assert!(patches(&image).unwrap().is_empty());
    assert_findings(&image, DATA, &[]);
    let image = folder.sparse("mbr.raw", 20 * MIB + 512);
    run_with_input(
        "sfdisk",
        &[&"--quiet", &image],
        b"label: dos\nsize=2048\nsize=2048, type=83\n",
    );
    assert!(patches(&image).unwrap().is_empty());
    assert_findings(&image, DATA, &["size-padding"]);
}

#[test]
fn damaged_and_full_disks_are_refused() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 20 * MIB + 512);
    run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
    let broken = folder.copy("broken", &image);
    tools::write_at(&broken, 1024 + 20, b"x");
    assert!(matches!(patches(&broken), Err(RelocateError::Primary(_))));
    assert_findings(&broken, DATA, &["gpt-damaged", "size-padding"]);
    // Cut off so that the end of the padded disk is in the last partition.
    let full = folder.sparse("full.raw", 40 * MIB);
    run("sgdisk", &[&"-N", &"1", &full]);
    File::options()
        .write(true)
        .open(&full)
        .unwrap()
        .set_len(30 * MIB)
        .unwrap();
    let refusal = patches(&full);
    assert!(matches!(
        refusal,
        Err(RelocateError::Partition { number: 1, .. })
    ));
    assert_findings(
        &full,
        DATA,
        &[
            "gpt-backup-damaged",
            "gpt-backup-position",
            "partition-range",
        ],
    );
}

#[test]
fn sectors_of_4096_bytes() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 20 * MIB + 4096);
    tools::divide_into_4k_sectors(&image);
    let (kept, relocated) = views(&folder, &image);
    let device = Loop::with_sectors_of(&relocated, 4096);
    assert_eq!(complaints("sfdisk", device.path()), None);
    drop(device);
    assert_findings(&relocated, DATA, &["table-4kn-data"]);
    assert_findings(&kept, DATA, &["table-4kn-data", "gpt-backup-position"]);
}

#[test]
fn warnings_about_size_and_table() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 20 * MIB + 512);
    let warnings = |image: &Path| {
        let disk = FileDisk::open(image);
        let layout = Layout::fixed_vhd(disk.size(), [0; FOOTER_SIZE], Vec::new());
        let view = View::new(layout.unwrap(), disk);
        vhd::warnings(&view, true).unwrap().join("; ")
    };
    assert_eq!(warnings(&image), "no partition table");
    run_with_input("sfdisk", &[&"--quiet", &image], SCRIPT);
    assert!(warnings(&image).contains("--gpt relocate"));
    let (_, relocated) = views(&folder, &image);
    assert_eq!(warnings(&relocated), "");
    let tiny = folder.sparse("tiny.raw", MIB);
    assert!(warnings(&tiny).contains("20 MiB"));
}
