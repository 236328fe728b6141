//! Images of all formats written out by `vhdfs cat`: blocks are shared where they can be, and what comes
//! out is one version or nothing.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{convert, verify};
use crate::harness::{FileSystem, Lab, MIB, run, sparse_image, vhdfs};

/// Images, and whether what they hold lies at whole blocks.
const IMAGES: [(&str, &str, &str, bool); 9] = [
    ("raw", "", "plain.raw", true),
    ("qcow2", "", "clusters.qcow2", true),
    ("qcow2", "cluster_size=512", "small.qcow2", false),
    ("qcow2", "-c", "packed.qcow2", false),
    ("vmdk", "", "grains.vmdk", true),
    ("vmdk", "subformat=twoGbMaxExtentFlat", "split.vmdk", true),
    ("vhdx", "", "blocks.vhdx", true),
    ("vdi", "", "unaligned.vdi", false),
    ("vpc", "subformat=dynamic,force_size", "dynamic.vhd", false),
];

/// Bytes of the file system that are in use, once everything is on disk.
fn used(path: &Path) -> u64 {
    rustix::fs::syncfs(File::open(path).expect("a folder")).expect("on disk");
    let found = rustix::fs::statvfs(path).expect("a file system");
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

/// Writes the view of `image` into `output`, in one of two ways.
fn write_out(image: &Path, output: &Path, is_redirected: bool) -> Output {
    let mut command = vhdfs();
    command.arg("cat").arg(image);
    if is_redirected {
        let output = File::create(output).expect("an output");
        let output = command.stdout(output).output();
        return output.expect("vhdfs runs");
    }
    run(command.arg("--output").arg(output))
}

/// Makes an image of every kind of the disk in `raw`.
fn make_all(raw: &Path, folder: &Path) {
    for (format, options, name, _) in IMAGES {
        convert(raw, format, options, &folder.join(name));
    }
}

#[test]
fn blocks_of_every_format_are_shared_where_they_are_aligned() {
    for (kind, tail) in [("xfs", 0), ("btrfs", 1024)] {
        let file_system = FileSystem::new(kind, 600 * MIB);
        let (source, target) = (file_system.folder("source"), file_system.folder("target"));
        let lab = Lab::new();
        let raw = lab.path().join("disk.raw");
        let runs = [
            (0, 6 * MIB as usize),
            (9 * MIB + 512, 70_000),
            (12 * MIB, 2 * MIB as usize),
        ];
        sparse_image(&raw, 3, 24 * MIB + tail, &runs);
        make_all(&raw, &source);
        for (_, _, name, is_aligned) in IMAGES {
            for is_redirected in [false, true] {
                let image = source.join(name);
                let output = target.join(name).with_extension("out");
                let before = used(file_system.path());
                let done = write_out(&image, &output, is_redirected);
                let said = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "{kind}: {name}: {said}");
                let grown = used(file_system.path()).saturating_sub(before);
                assert!(
                    !is_aligned || grown < 2 * MIB,
                    "{kind}: {name}: {grown} bytes"
                );
                verify(&image, &raw, &output);
                fs::remove_file(output).expect("removed");
            }
        }
    }
}

/// Makes a disk in ten thousand pieces, and an image of it.
pub(super) fn make_pieces(raw: &Path, image: &Path) {
    let runs: Vec<_> = (0..10_000).map(|number| (number * 8192, 4096)).collect();
    sparse_image(raw, 3, 80 * MIB, &runs);
    convert(raw, "qcow2", "cluster_size=4096", image);
}

#[test]
fn an_image_in_ten_thousand_pieces_is_shared_too() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let raw = file_system.path().join("disk.raw");
    let image = file_system.path().join("pieces.qcow2");
    make_pieces(&raw, &image);
    let before = used(file_system.path());
    let output = file_system.path().join("pieces.vhd");
    let done = write_out(&image, &output, false);
    assert!(done.status.success(), "{done:?}");
    let grown = used(file_system.path()).saturating_sub(before);
    assert!(grown < 2 * MIB, "{grown} bytes");
    verify(&image, &raw, &output);
}

#[test]
fn other_file_systems_get_a_copy_with_its_holes() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let source = file_system.folder("source");
    let lab = Lab::new();
    let raw = lab.path().join("disk.raw");
    sparse_image(&raw, 3, 24 * MIB, &[(0, MIB as usize), (20 * MIB, 70_000)]);
    make_all(&raw, &source);
    for (_, _, name, _) in IMAGES {
        let (image, output) = (source.join(name), lab.path().join("out"));
        let done = write_out(&image, &output, false);
        assert!(done.status.success(), "{name}: {done:?}");
        verify(&image, &raw, &output);
        let taken = output.metadata().expect("an output").blocks() * 512;
        assert!(taken < 8 * MIB, "{name}: {taken} bytes");
    }
}

/// Size of the blocks that say which version they are of.
pub(super) const BLOCK: usize = 64 << 10;

/// Rewrites blocks of a file, as somebody would who changes what is in a disk.
pub(super) fn rewrite(file: &Path, blocks: &[u64], to: u8) {
    let file = File::options().write(true).open(file).expect("a writer");
    for at in blocks {
        file.write_all_at(&vec![to; BLOCK], *at).expect("a write");
    }
}

/// The version that all blocks of a stamped image are of. Panics where they are a mix.
pub(super) fn version_of(view: &[u8]) -> u8 {
    let found = view[0];
    for number in (0..512).step_by(2) {
        let block = &view[number * BLOCK..][..BLOCK];
        assert!(
            block.iter().all(|&byte| byte == found),
            "a mix in block {number}"
        );
    }
    found
}

/// Where a file has blocks of nothing but `byte`.
fn blocks_of(file: &Path, byte: u8) -> Vec<u64> {
    let bytes = fs::read(file).expect("an image");
    let blocks = bytes.chunks(BLOCK).enumerate();
    blocks
        .filter(|(_, block)| block.len() == BLOCK && block.iter().all(|&found| found == byte))
        .map(|(number, _)| (number * BLOCK) as u64)
        .collect()
}

/// An image of blocks of version 1, with holes between them so that it is cloned in many ranges.
pub(super) fn stamped(folder: &Path, format: &str) -> (PathBuf, Vec<u64>) {
    let raw = folder.join("stamped.raw");
    sparse_image(&raw, 0, 32 * MIB, &[]);
    let file = File::options().write(true).open(&raw).expect("a disk");
    for number in (0..256).map(|number| number * 2 * BLOCK as u64) {
        file.write_all_at(&[1; BLOCK], number).expect("a block");
    }
    let image = folder.join(format!("image.{format}"));
    convert(&raw, format, "", &image);
    let blocks = blocks_of(&image, 1);
    assert!(blocks.len() > 200, "{format}: {} blocks", blocks.len());
    (image, blocks)
}

#[test]
fn a_writer_at_any_moment_never_makes_a_mix() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    for format in ["raw", "qcow2", "vmdk"] {
        let folder = file_system.folder(format);
        let (image, blocks) = stamped(&folder, format);
        let output = folder.join("out");
        let (mut version, mut whole) = (1, 0);
        for round in 0..12_u64 {
            let begins = AtomicBool::new(false);
            let next = version + 1;
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !begins.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                    // Another moment each time, from before the start to after the end.
                    thread::sleep(std::time::Duration::from_millis(3 * round));
                    rewrite(&image, &blocks, next);
                });
                begins.store(true, Ordering::Release);
                let done = write_out(&image, &output, false);
                if !done.status.success() {
                    assert!(!output.exists(), "{format}: half an output");
                    return;
                }
                whole += 1;
                let bytes = fs::read(&output).expect("an output");
                let found = version_of(&bytes);
                assert!(found == version || found == next, "{format}: {found}");
                fs::remove_file(&output).expect("removed");
            });
            version = next;
        }
        let done = write_out(&image, &output, false);
        assert!(done.status.success(), "{format}: {done:?}");
        let bytes = fs::read(&output).expect("an output");
        assert_eq!(bytes[0], version, "{format}, {whole} whole before");
        let found = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(found, 3, "nothing else is left");
    }
}

/// Takes all space of a file system but a few MiB, also what XFS has set aside for files that grow.
pub(super) fn fill(path: &Path) {
    let filler = File::create(path).expect("a file");
    let mut end = 0;
    for step in [64 * MIB, 16 * MIB, 4 * MIB] {
        let flags = rustix::fs::FallocateFlags::empty();
        while rustix::fs::fallocate(&filler, flags, end, step).is_ok() {
            end += step;
        }
    }
}

#[test]
fn a_full_file_system_gets_nothing() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let lab = Lab::new();
    let raw = lab.path().join("disk.raw");
    sparse_image(&raw, 3, 64 * MIB, &[(0, 40 * MIB as usize)]);
    // Nothing of it lies at whole blocks, so nothing can be shared.
    let image = file_system.path().join("unaligned.vhd");
    convert(&raw, "vpc", "subformat=dynamic,force_size", &image);
    fill(&file_system.path().join("filler"));
    let output = file_system.path().join("out");
    let done = write_out(&image, &output, false);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("out: cannot be written"), "{said}");
    assert!(!output.exists());
    let left = fs::read_dir(file_system.path()).expect("a folder").count();
    assert_eq!(left, 2, "the image and the filler");
}
