//! Every format and option of qemu-img that makes a difference, through the mount and `cat`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use super::{convert, unpack, verify};
use crate::harness::{
    Lab, MIB, Mount, Options, Rng, list, random_bytes, run_ok, set_mtime, snapshot_of,
    sparse_image, vhdfs,
};

/// qemu-img's format, its options (`-c` for compression), and the extension.
const FORMATS: [(&str, &str, &str); 30] = [
    ("qcow2", "", "qcow2"),
    ("qcow2", "compat=0.10", "qcow2"),
    ("qcow2", "cluster_size=512", "qcow2"),
    ("qcow2", "cluster_size=2M", "qcow2"),
    ("qcow2", "extended_l2=on", "qcow2"),
    ("qcow2", "refcount_bits=1", "qcow2"),
    ("qcow2", "refcount_bits=64,lazy_refcounts=on", "img"),
    ("qcow2", "preallocation=metadata", "qcow"),
    ("qcow2", "preallocation=full,cluster_size=4k", "qcow2"),
    ("qcow2", "extended_l2=on,cluster_size=2M", "QCOW2"),
    ("qcow2", "-c", "qcow2"),
    ("qcow2", "-ccompression_type=zstd", "img"),
    ("qcow2", "-ccompat=0.10,cluster_size=512", "qcow2"),
    ("qcow2", "-cextended_l2=on,compression_type=zstd", "raw"),
    ("vpc", "subformat=dynamic", "vhd"),
    ("vpc", "subformat=dynamic,force_size=on", "vhd"),
    ("vpc", "subformat=fixed", "vhd"),
    ("vhdx", "", "vhdx"),
    ("vhdx", "subformat=fixed,block_size=1M", "vhdx"),
    ("vhdx", "block_size=2M,block_state_zero=off", "vhdx"),
    ("vhdx", "block_size=256M", "img"),
    ("vmdk", "subformat=monolithicSparse", "vmdk"),
    ("vmdk", "-csubformat=streamOptimized", "vmdk"),
    ("vmdk", "zeroed_grain=on,adapter_type=lsilogic", "Vmdk"),
    ("vmdk", "subformat=monolithicFlat", "vmdk"),
    ("vmdk", "subformat=twoGbMaxExtentSparse", "vmdk"),
    ("vmdk", "subformat=twoGbMaxExtentFlat", "vmdk"),
    ("vhdx", "block_size=1M,log_size=2M", "vhdx"),
    ("vdi", "", "vdi"),
    ("vdi", "static=on", "dd"),
];

/// Makes an image of each format, and the disk in it beside: (image, disk).
fn images(folder: &Path, disks: &Path, raw: &Path) -> Vec<(PathBuf, PathBuf)> {
    let images = FORMATS
        .iter()
        .enumerate()
        .map(|(number, &(format, options, extension))| {
            let image = folder.join(format!("{number}-{format}.{extension}"));
            convert(raw, format, options, &image);
            // Extents, too.
            for file in folder.read_dir().expect("a folder") {
                let name = file.expect("a file").file_name();
                if name.to_string_lossy().starts_with(&format!("{number}-")) {
                    set_mtime(&folder.join(name), 1_700_000_000 + number as u64, 1);
                }
            }
            let disk = disks.join(format!("{number}.raw"));
            unpack(&image, format, &disk);
            (image, disk)
        });
    images.collect()
}

fn view_of(image: &Path) -> PathBuf {
    Path::new(image.file_name().expect("a name")).with_extension("vhd")
}

/// Data that compresses and data that does not, holes, and zeros that are written.
fn disk(path: &Path, size: u64) {
    sparse_image(path, size, size, &[]);
    let file = File::options().write(true).open(path).expect("a disk");
    let mut at = 0;
    for (number, length) in [70_000, 512, 300_000, 65_536, 9_000]
        .iter()
        .cycle()
        .enumerate()
    {
        let end = (at + length).min(size);
        let length = (end - at) as usize;
        let bytes = match number % 4 {
            0 => random_bytes(at, length),
            1 => b"compressible "
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect(),
            2 => vec![0; length],
            _ => Vec::new(),
        };
        file.write_all_at(&bytes, at).expect("write a disk");
        at = end;
        if at == size {
            return;
        }
    }
}

#[test]
fn every_format_appears_as_the_disk_that_is_in_it() {
    for size in [512, 3 * MIB + 7 * 512, 20 * MIB] {
        let lab = Lab::new();
        let (folder, disks) = (lab.folder("source"), lab.folder("disks"));
        let raw = lab.path().join("disk");
        disk(&raw, size);
        let images = images(&folder, &disks, &raw);
        let before = snapshot_of(&folder);
        let mount = Mount::new(&folder);
        for (image, disk) in &images {
            verify(image, disk, &mount.join(view_of(image)));
        }
        let shown = list(&folder, &[]);
        let shown = shown["images"].as_array().expect("images");
        assert_eq!(shown.len(), images.len());
        mount.unmount();
        before.assert_unchanged(&folder);
    }
}

#[test]
fn cat_gives_the_same_bytes_of_every_format() {
    let lab = Lab::new();
    let (folder, disks) = (lab.folder("source"), lab.folder("disks"));
    let raw = lab.path().join("disk");
    disk(&raw, 3 * MIB + 512);
    for (image, disk) in images(&folder, &disks, &raw) {
        let out = lab.path().join("out.vhd");
        fs::write(&out, stdout_bytes(&image)).expect("a file");
        verify(&image, &disk, &out);
    }
}

fn stdout_bytes(image: &Path) -> Vec<u8> {
    run_ok(vhdfs().arg("cat").arg(image)).stdout
}

/// What can hold 2 TiB, or nearly.
const TEBIBYTES: [(&str, &str); 11] = [
    ("qcow2", ""),
    ("qcow2", "-c"),
    ("qcow2", "cluster_size=2M"),
    ("qcow2", "extended_l2=on"),
    (
        "qcow2",
        "-ccompression_type=zstd,extended_l2=on,cluster_size=2M",
    ),
    ("vhdx", ""),
    ("vhdx", "block_size=1M"),
    ("vhdx", "block_size=256M"),
    ("vdi", ""),
    ("vmdk", ""),
    ("vmdk", "-csubformat=streamOptimized"),
];

/// What is split at 2 GiB, or holds less than 2 TiB.
const GIBIBYTES: [(&str, &str); 4] = [
    ("vpc", "subformat=dynamic,force_size=on"),
    ("vmdk", "subformat=twoGbMaxExtentSparse"),
    ("vmdk", "subformat=twoGbMaxExtentFlat"),
    ("vmdk", "subformat=monolithicFlat"),
];

#[test]
fn sparse_disks_of_tebibytes_are_read_where_their_data_is() {
    let data = |size| {
        [
            (0, 5000),
            ((3 << 30) - 50_000, 100_000),
            (size - 4096, 4096),
        ]
    };
    check_sparse(2 << 40, &TEBIBYTES, data);
}

#[test]
fn sparse_disks_of_gibibytes_are_read_where_their_data_is() {
    // Across a border of two extents.
    let data = |size| [(512, 512), ((2 << 30) - 50_000, 100_000), (size - 512, 512)];
    check_sparse((3 << 30) + 512, &GIBIBYTES, data);
}

/// Makes a sparse disk with this data, and checks where its views have data, and which.
fn check_sparse(size: u64, formats: &[(&str, &str)], data: fn(u64) -> [(u64, usize); 3]) {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("disk");
    let data = data(size);
    sparse_image(&raw, 1, size, &data);
    for (number, (format, options)) in formats.iter().enumerate() {
        let image = folder.join(format!("{number}.{format}"));
        let image = match *format {
            "vpc" => image.with_extension("vhd"),
            _ => image,
        };
        convert(&raw, format, options, &image);
    }
    let mount = Mount::new(&folder);
    let disk = File::open(&raw).expect("a disk");
    for (number, format) in formats.iter().enumerate() {
        let path = mount.join(format!("{number}.vhd"));
        let want = size.next_multiple_of(MIB) + 512;
        assert_eq!(path.metadata().expect("a view").len(), want, "{format:?}");
        check_data(&File::open(&path).expect("a view"), &disk, &data, format);
    }
    mount.unmount();
}

fn check_data(view: &File, disk: &File, data: &[(u64, usize)], format: &(&str, &str)) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(view, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(view, rustix::fs::SeekFrom::Hole(start)).expect("a hole");
        found.push((start, at));
    }
    let total: u64 = found.iter().map(|(start, end)| end - start).sum();
    let is_flat = format.1.ends_with("Flat");
    assert!(total < 3 << 29 || is_flat, "{format:?}: {found:?}");
    for &(offset, length) in data {
        let end = offset + length as u64;
        let is_data = |&(start, stop): &(u64, u64)| start <= offset && end <= stop;
        assert!(found.iter().any(is_data), "{format:?}: {found:?}");
        // What is around it is a hole, and reads as zeros.
        let start = offset.saturating_sub(700);
        let read = |file: &File| {
            let mut bytes = vec![0; (end - start) as usize];
            file.read_exact_at(&mut bytes, start).expect("bytes");
            bytes
        };
        assert!(read(view) == read(disk), "{format:?} differs at {offset}");
    }
}

#[test]
fn many_readers_get_every_range_right_of_every_format() {
    let lab = Lab::new();
    let (folder, disks) = (lab.folder("source"), lab.folder("disks"));
    let raw = lab.path().join("disk");
    disk(&raw, 6 * MIB);
    let images = images(&folder, &disks, &raw);
    let want = fs::read(&raw).expect("a disk");
    let mount = Options::default().args(["--snapshot=never"]).mount(&folder);
    thread::scope(|scope| {
        for reader in 0..64_u64 {
            let (images, want, mount) = (&images, &want, &mount);
            scope.spawn(move || {
                let mut rng = Rng::new(reader);
                for _ in 0..40 {
                    let image = &images[rng.below(images.len() as u64) as usize].0;
                    let view = File::open(mount.join(view_of(image))).expect("a view");
                    let start = rng.below(want.len() as u64);
                    let length = rng.below(300_000).min(want.len() as u64 - start) as usize;
                    let mut bytes = vec![0; length];
                    view.read_exact_at(&mut bytes, start).expect("bytes");
                    let start = start as usize;
                    assert!(bytes == want[start..start + length], "{image:?} at {start}");
                }
            });
        }
    });
    mount.unmount();
}
