use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::container::Layer;
use super::samples::bytes;
use super::testing::{open_one, read_all, refusal};
use super::{
    Container, Details, Extent, Format, Given, Map, Opening, Options, Origin, Place, Step, vdi,
    vhd, vhdx, vmdk,
};
use crate::cache::{Caches, Tables};
use crate::{ByteRange, Disk};

fn file(head: &[u8]) -> Vec<u8> {
    let mut file = head.to_vec();
    file.resize(1 << 16, 0);
    file
}

#[test]
fn formats_without_a_disk_are_recognised_by_their_magic() {
    for (magic, name) in [
        (&b"QFI\xfb\0\0\0\x01"[..], "qcow"),
        (b"QED\0", "qed"),
        (b"WithoutFreeSpace", "parallels"),
        (b"\x1f\x8b\x08\x08", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\x04\x22\x4d\x18\x64", "lz4"),
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"EVF\x09\x0d\x0a\xff\0", "ewf"),
    ] {
        let format = Format::of(&file(magic)).unwrap();
        assert_eq!(format.name(), name);
        let text = refusal("disk.img", file(magic));
        assert!(text.starts_with(&format.to_string()), "{text}");
        assert!(text.contains('`'), "no command in {text}");
    }
}

#[test]
fn containers_are_recognised_by_their_magic() {
    for (magic, name) in [
        (&b"QFI\xfb\0\0\0\x03"[..], "qcow2"),
        (b"KDMV\x01\0\0\0", "vmdk"),
        (b"COWD", "vmdk"),
        (b"# Disk DescriptorFile\n", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"\xfd7zXZ\0\0\x04", "xz"),
        (b"conectix", "dynamic_vhd"),
    ] {
        assert_eq!(Format::of(&file(magic)).unwrap().name(), name);
    }
    let mut vdi = file(b"");
    vdi[0x40..0x44].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
    assert_eq!(Format::of(&vdi).unwrap().name(), "vdi");
}

#[test]
fn footers_at_the_end() {
    let writer = vhd::writer::Writer {
        kind: 2,
        ..vhd::writer::Writer::new(512, vec![Some(vec![7; 512])])
    };
    let fixed = writer.fixed();
    assert_eq!(Format::of(&fixed).unwrap(), Format::FIXED_VHD);
    // Damaged, and nevertheless no raw disk.
    let mut damaged = fixed.clone();
    let at = damaged.len() - 412;
    damaged[at] = 1;
    assert_eq!(Format::of(&damaged).unwrap(), Format::FIXED_VHD);
    assert_eq!(Format::of(&fixed[1..].to_vec()).unwrap(), Format::FIXED_VHD);
    assert_eq!(
        Format::of(&fixed[..fixed.len() - 1].to_vec()).unwrap(),
        Format::RAW
    );
}

proptest! {
    #[test]
    fn any_bytes_have_a_format(mut head: Vec<u8>, tail: Vec<u8>, size in 0_usize..4096) {
        head.resize(head.len() + size, 0);
        head.extend(tail);
        prop_assert!(Format::of(&head).is_ok());
    }
}

#[test]
fn what_only_looks_like_a_container_is_raw() {
    for head in [
        &b"\x1f\x8b\x07"[..],
        b"\x1f\x8b\x08\xff",
        b"BZh9",
        b"BZh0",
        b"PK",
        b"qfi\xfb",
        b"\x04\x22\x4d\x18\x14",
    ] {
        assert_eq!(Format::of(&file(head)).unwrap(), Format::RAW, "{head:?}");
    }
    assert_eq!(Format::of(&b"Q".to_vec()).unwrap(), Format::RAW);
    assert_eq!(Format::of(&Vec::new()).unwrap(), Format::RAW);
}

#[test]
fn a_disc_is_no_disk_unless_it_has_a_partition_table() {
    let mut disc = file(b"");
    disc[32_768..32_774].copy_from_slice(b"\x01CD001");
    assert_eq!(Format::of(&disc).unwrap().name(), "iso9660");
    disc[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(Format::of(&disc).unwrap(), Format::RAW);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = Format::all().map(Format::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Format::all().count());
}

#[test]
fn a_raw_disk_is_one_run_of_its_file() {
    let bytes: Vec<u8> = (0..5000).map(|at| at as u8).collect();
    let disk = open_one("disk.raw", bytes.clone()).unwrap();
    assert_eq!(read_all(&disk), bytes);
    let runs: Vec<_> = disk
        .runs(ByteRange::new(10, 9999))
        .map(Result::unwrap)
        .collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].range, ByteRange::new(10, 5000));
    assert_eq!(
        runs[0].origin,
        Origin::File {
            file: 0,
            offset: 10
        }
    );
    assert!(disk.read_exact_at(&mut [0; 2], 4999).is_err());
    assert_eq!(
        refusal("disk.raw", Vec::new()),
        "empty: there is no disk in it"
    );
}

/// Counts how often it is read.
struct Counted(Vec<u8>, AtomicUsize);

impl Disk for Counted {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_exact_at(buffer, offset)
    }
}

#[test]
fn opening_an_image_takes_at_most_eight_reads() {
    let blocks = |size: usize| vec![Some(bytes(1, size)), None];
    let vmdk = vmdk::writer::Writer::new(8, blocks(4096));
    let block = vhdx::writer::State::Present(bytes(1, 1 << 20));
    for (name, file) in [
        (
            "disk.vhd",
            vhd::writer::Writer::new(4096, blocks(4096)).dynamic().file,
        ),
        (
            "disk.vhdx",
            vhdx::writer::Writer::new(1 << 20, vec![block]).write().file,
        ),
        ("disk.vmdk", vmdk.sparse().file),
        ("stream.vmdk", vmdk.stream().file),
        (
            "disk.vdi",
            vdi::writer::Writer::new(4096, blocks(4096)).write().file,
        ),
    ] {
        let file = Arc::new(Counted(file, AtomicUsize::new(0)));
        let given = Given {
            name: name.to_owned(),
            identity: (0, 0),
            bytes: file.clone(),
        };
        let caches = Caches::new(1 << 20, 0);
        let mut opening = Opening::new(given, Options::default(), caches);
        assert!(matches!(opening.step(), Ok(Step::Ready(_))), "{name}");
        let reads = file.1.load(Ordering::Relaxed);
        assert!(reads <= 8, "{name}: {reads}");
    }
}

/// A disk of a pebibyte whose tables say for each byte alone that it is zero, as no more than a few tables
/// that are used over and over can.
#[derive(Debug)]
struct Slow;

impl Map for Slow {
    fn size(&self) -> u64 {
        1 << 50
    }

    fn locate(&self, _: &Tables, _: ByteRange) -> io::Result<Extent> {
        Ok(Extent {
            length: 1,
            place: Place::Zeros,
        })
    }
}

#[test]
fn looking_for_data_and_runs_ends() {
    let layer = Layer::new(Box::new(Slow), Vec::new());
    let caches = Caches::new(1 << 20, 0);
    let disk = Container::new(vec![layer], Details::new(Format::RAW), caches);
    let data = disk.next_data(5).unwrap().unwrap();
    assert!(data.start() > 5 && data.end() == disk.size());
    let mut runs = disk.runs(ByteRange::new(5, u64::MAX)).map(Result::unwrap);
    let (first, second) = (runs.next().unwrap(), runs.next().unwrap());
    assert_eq!((first.range.start(), first.origin), (5, Origin::Zeros));
    assert!(!first.range.is_empty() && first.range.end() == second.range.start());
}
