use super::testing::{open_one, read_all, refusal};
use super::{Format, Origin};
use crate::{ByteRange, Disk};

fn file(head: &[u8]) -> Vec<u8> {
    let mut file = head.to_vec();
    file.resize(1 << 16, 0);
    file
}

#[test]
fn formats_without_a_disk_are_told_by_their_magic() {
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
fn names_are_unique_and_found() {
    let mut names: Vec<_> = Format::all().map(Format::name).collect();
    for name in &names {
        assert_eq!(Format::named(name).map(Format::name), Some(*name));
    }
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
