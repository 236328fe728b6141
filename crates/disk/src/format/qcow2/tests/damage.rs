//! Refusals, and damage that is found while reading.

use super::super::writer::{Cluster, Writer};
use super::{bytes, version_2};
use crate::Disk;
use crate::format::testing::{ALL, open, open_one, read_all, refusal};
use crate::format::{Container, Damage, Defect, Options};

fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let image = Writer::new(
        12,
        vec![Cluster::Data(bytes(1, 4096)), Cluster::Unallocated],
    );
    let (mut file, _) = image.write();
    change(&mut file);
    file
}

fn put(at: usize, value: u64) -> impl FnOnce(&mut Vec<u8>) {
    move |file| file[at..at + 8].copy_from_slice(&value.to_be_bytes())
}

#[test]
fn refusals_say_why_and_what_to_do() {
    for (file, text) in [
        (with(|file| file[35] = 1), "encrypted qcow2: decrypt it"),
        (with(|file| file[35] = 2), "encrypted qcow2: decrypt it"),
        (with(put(72, 2)), "marked as corrupt"),
        (
            with(put(72, 1 << 40)),
            "qcow2 feature without name (bit 40)",
        ),
        (with(put(4, 4 << 32)), "qcow2 of version 4"),
        (with(|file| file[23] = 31), "its cluster size is 2147483648"),
        (with(|file| file[23] = 8), "damaged: the header"),
        (with(put(24, (1 << 63) - 512)), "its L1 table's size is"),
        (with(put(24, 0)), "empty"),
        (
            with(put(40, 1 << 45)),
            "the L1 table at byte 35184372088832 of disk.qcow2 lies past the end",
        ),
        (
            with(put(40, 0)),
            "the L1 table at byte 0 of disk.qcow2 overlaps",
        ),
        (with(put(40, 4097)), "not aligned"),
        (with(|file| file[104] = 1), "damaged: the header"),
        (with(put(24, 1 << 30)), "damaged: the header"),
        (
            with(|file| file.truncate(80)),
            "the header at byte 72 of disk.qcow2 lies past the end",
        ),
        (with(|file| file.truncate(4100)), "the L1 table"),
    ] {
        let found = refusal("disk.qcow2", file);
        assert!(found.contains(text), "{found:?} for {text:?}");
    }
}

#[test]
fn an_unknown_feature_is_called_by_its_name() {
    let file = with(|file| {
        put(72, 1 << 7)(file);
        let mut table = 0x6803_f857_u32.to_be_bytes().to_vec();
        table.extend(48_u32.to_be_bytes());
        table.extend([0, 7]);
        table.extend(b"time\ntravel");
        file[112..112 + table.len()].copy_from_slice(&table);
    });
    let found = refusal("disk.qcow2", file);
    assert!(found.contains("`time?travel` (bit 7)"), "{found}");
}

fn first_damage(disk: &Container) -> Option<Defect> {
    let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err();
    Damage::of(&error).map(|damage| damage.defect)
}

/// The L2 entry of the first cluster.
const L2: usize = 8192;

#[test]
fn damaged_tables_are_errors_of_the_blocks_they_lead_to() {
    for (at, value, defect) in [
        (4096, 1 << 40, Defect::PastEnd),
        (4096, 512, Defect::Unaligned),
        (4096, 4096, Defect::Overlap),
        (L2, 1 << 40, Defect::PastEnd),
        (L2, 8192 + 512, Defect::Unaligned),
        (L2, 4096, Defect::Overlap),
        (L2, 8192, Defect::Overlap),
        (L2, 1 << 62 | 1 << 40, Defect::PastEnd),
        (L2, 1 << 62 | 600, Defect::Overlap),
        (L2, 1 << 62 | 3 << 58 | 12288, Defect::Compression),
    ] {
        let disk = open_one("disk.qcow2", with(put(at, value))).unwrap();
        assert_eq!(first_damage(&disk), Some(defect), "{value:#x} at {at}");
        // What is not known to be a hole is data, so that readers of data get the error.
        assert_eq!(disk.next_data(0).unwrap().unwrap().start(), 0);
    }
}

#[test]
fn a_file_that_is_cut_off_never_gives_zeros() {
    let disk = open_one("disk.qcow2", with(|file| file.truncate(12288 + 1024))).unwrap();
    let mut sector = [0; 512];
    disk.read_exact_at(&mut sector, 512).unwrap();
    let error = disk.read_exact_at(&mut sector, 1024).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the data at byte 13312 of disk.qcow2 lies past the end of the file: the image is cut off"
    );
    let mut whole = [0; 4096];
    assert!(disk.read_exact_at(&mut whole, 0).is_err());
}

#[test]
fn the_end_of_a_cluster_past_the_end_of_the_disk_is_not_needed() {
    let mut image = Writer::new(12, vec![Cluster::Data(bytes(1, 4096))]);
    image.size = 1024;
    let (mut file, _) = image.write();
    file.truncate(12288 + 1024);
    let disk = open_one("disk.qcow2", file).unwrap();
    assert_eq!(read_all(&disk), image.disk(&[]));
}

#[test]
fn a_zero_cluster_of_version_2_is_damage() {
    let mut image = version_2();
    image.clusters[0] = Cluster::Zero { allocated: false };
    let disk = open_one("disk.qcow2", image.write().0).unwrap();
    assert_eq!(first_damage(&disk), Some(Defect::Value));
}

#[test]
fn what_decompresses_to_more_than_a_cluster_is_cut_at_its_end() {
    let mut image = Writer::new(12, vec![Cluster::Compressed(vec![7; 1 << 24])]);
    image.size = 4096;
    let disk = open_one("disk.qcow2", image.write().0).unwrap();
    assert_eq!(read_all(&disk), [7; 4096]);
}

#[test]
fn chains_are_refused_with_their_reason() {
    let top = |backing: &str, format| Writer {
        backing: Some((backing.to_owned(), format)),
        ..Writer::new(12, vec![Cluster::Unallocated])
    };
    let chain = |name: &'static str, backing: &str, format| {
        let folder = [
            (name, top(backing, format).write().0),
            ("base.raw", vec![1; 4096]),
        ];
        open(&folder, ALL).map(|_| ()).unwrap_err().to_string()
    };
    for (name, backing, format, text) in [
        (
            "a.qcow2",
            "/base.raw",
            Some("raw"),
            "`/base.raw`, which is no relative path",
        ),
        (
            "a.qcow2",
            "json:{\"driver\":\"raw\"}",
            None,
            "which is no relative path",
        ),
        (
            "a.qcow2",
            "nbd:localhost:1",
            Some("raw"),
            "which is no relative path",
        ),
        (
            "a.qcow2",
            "base\0.raw",
            Some("raw"),
            "`base?.raw`, which is no relative path",
        ),
        (
            "a.qcow2",
            "base.raw",
            None,
            "base.raw would be raw, and the image does not say so",
        ),
        (
            "a.qcow2",
            "base.raw",
            Some("qcow2"),
            "should be in the format qcow2 and is raw",
        ),
        (
            "a.raw",
            "base.raw",
            Some("raw"),
            "only for an image whose extension says qcow2",
        ),
        (
            "a.img",
            "base.raw",
            Some("raw"),
            "rename it to end with .qcow2",
        ),
        ("a.qcow2", "a.qcow2", Some("qcow2"), "leads back to a.qcow2"),
    ] {
        let found = chain(name, backing, format);
        assert!(found.contains(text), "{found:?} for {text:?}");
    }
    let without = open(
        &[("a.qcow2", top("base.raw", Some("raw")).write().0)],
        Options::default(),
    );
    let text = without.unwrap_err().to_string();
    assert!(text.contains("backing file base.raw, which is opened only with --chains"));
}

#[test]
fn chains_end() {
    let names: Vec<String> = (0..20).map(|number| format!("{number}.qcow2")).collect();
    let folder = |length: usize| -> Vec<(&str, Vec<u8>)> {
        (0..=length)
            .map(|number| {
                let image = Writer {
                    backing: (number < length).then(|| (names[number + 1].clone(), Some("qcow2"))),
                    ..Writer::new(12, vec![Cluster::Unallocated])
                };
                (names[number].as_str(), image.write().0)
            })
            .collect()
    };
    assert!(open(&folder(16), ALL).is_ok());
    let error = open(&folder(17), ALL).unwrap_err().to_string();
    assert!(
        error.contains("based on more than 16 other images"),
        "{error}"
    );
    assert!(error.contains("backing file 16.qcow2"), "{error}");
}
