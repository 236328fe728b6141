mod damage;
mod once;

use proptest::prelude::*;
use proptest::sample::Index;

use super::writer::{Cluster, Writer};
use crate::format::testing::{ALL, check_runs, open, open_one, read_all};
use crate::format::{Options, Origin};
use crate::{ByteRange, Disk};

/// Bytes that compress, and differ from place to place.
fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| seed.wrapping_add((at / 7) as u8).wrapping_mul(31) | 1)
        .collect()
}

fn cluster(bits: u32, extended: bool) -> impl Strategy<Value = Cluster> {
    let size = 1 << bits;
    let data = any::<u8>().prop_map(move |seed| bytes(seed, size));
    let plain = prop_oneof![
        2 => Just(Cluster::Unallocated),
        1 => any::<bool>().prop_map(|allocated| Cluster::Zero { allocated }),
        3 => data.clone().prop_map(Cluster::Data),
        3 => data.clone().prop_map(Cluster::Compressed),
    ];
    let sub = (data, any::<u32>(), any::<u32>()).prop_map(|(data, allocated, zero)| Cluster::Sub {
        data,
        allocated,
        zero: zero & !allocated,
    });
    (plain, sub, any::<bool>()).prop_map(
        move |(plain, sub, choice)| {
            if extended && choice { sub } else { plain }
        },
    )
}

fn image() -> impl Strategy<Value = Writer> {
    prop_oneof![
        (Just(9_u32), Just(false)),
        (Just(12_u32), Just(false)),
        (Just(14_u32), any::<bool>()),
    ]
    .prop_flat_map(|(bits, extended)| {
        let count = if bits == 9 { 1..200_usize } else { 1..12 };
        (
            proptest::collection::vec(cluster(bits, extended), count),
            any::<bool>(),
            any::<bool>(),
            0..1_u64 << bits,
        )
            .prop_map(move |(clusters, zstd, noise, cut)| {
                let mut image = Writer::new(bits, clusters);
                image.size -= cut / 512 * 512;
                Writer {
                    extended,
                    // Miri does not run libzstd, which is in C.
                    zstd: zstd && !cfg!(miri),
                    noise,
                    ..image
                }
            })
    })
}

fn version_2() -> Writer {
    Writer {
        version: 2,
        ..Writer::new(
            9,
            vec![
                Cluster::Data(bytes(1, 512)),
                Cluster::Unallocated,
                Cluster::Compressed(bytes(2, 512)),
            ],
        )
    }
}

proptest! {
    // Whole images are slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 96 }))]

    #[test]
    fn reads_equal_the_model(
        image in image(),
        requests in proptest::collection::vec((any::<Index>(), any::<Index>()), 1..20),
    ) {
        let want = image.disk(&[]);
        let disk = open_one("disk.qcow2", image.write().0).unwrap();
        prop_assert_eq!(disk.size(), want.len() as u64);
        for (start, end) in requests {
            let (start, end) = (start.index(want.len() + 1), end.index(want.len() + 1));
            let range = start.min(end)..start.max(end);
            let mut found = vec![0xa5; range.len()];
            disk.read_exact_at(&mut found, range.start as u64).unwrap();
            prop_assert!(found == want[range]);
        }
        prop_assert!(read_all(&disk) == want);
        check_runs(&disk, &want);
    }

    #[test]
    fn a_chain_reads_through(
        top in image(),
        base in image(),
        raw in proptest::collection::vec(any::<u8>(), 1..5000),
    ) {
        let base = Writer { backing: Some(("base.raw".into(), Some("raw"))), ..base };
        let top = Writer { backing: Some(("base.qcow2".into(), Some("qcow2"))), ..top };
        let want = top.disk(&base.disk(&raw));
        let folder = [
            ("top.qcow2", top.write().0),
            ("base.qcow2", base.write().0),
            ("base.raw", raw),
        ];
        let disk = open(&folder, ALL).unwrap();
        prop_assert!(read_all(&disk) == want);
        check_runs(&disk, &want);
    }

    #[test]
    fn flipped_bytes_give_an_error_or_what_their_own_entries_say(
        image in image(),
        flips in proptest::collection::vec((any::<Index>(), 1..=255_u8), 1..4),
    ) {
        let (mut file, _) = image.write();
        for (at, flip) in flips {
            let at = at.index(file.len());
            file[at] ^= flip;
        }
        let Ok(disk) = open_one("disk.qcow2", file) else { return Ok(()) };
        let mut sector = [0; 512];
        let sectors = (disk.size() / 512).min(2000);
        for number in 0..sectors {
            let _ = disk.read_exact_at(&mut sector, number * 512);
        }
        let mut at = 0;
        for _ in 0..2000 {
            match disk.next_data(at).unwrap() {
                Some(data) => at = data.end(),
                None => break,
            }
        }
        let _ = disk.runs(ByteRange::new(0, u64::MAX)).take(2000).count();
    }
}

#[test]
fn version_2_is_read() {
    let image = version_2();
    let disk = open_one("disk.qcow2", image.write().0).unwrap();
    assert_eq!(read_all(&disk), image.disk(&[]));
    assert_eq!(disk.details().variant.as_deref(), Some("version 2"));
    assert_eq!(disk.details().block_size, Some(512));
}

#[test]
fn plain_runs_are_named_with_their_place() {
    let clusters = vec![
        Cluster::Data(bytes(1, 4096)),
        Cluster::Data(bytes(2, 4096)),
        Cluster::Unallocated,
        Cluster::Compressed(bytes(3, 4096)),
    ];
    let disk = open_one("disk.qcow2", Writer::new(12, clusters).write().0).unwrap();
    let runs: Vec<_> = disk
        .runs(ByteRange::new(100, u64::MAX))
        .map(|run| run.map(|run| (run.range, run.origin)).unwrap())
        .collect();
    let place = Origin::File {
        file: 0,
        offset: 3 * 4096 + 100,
    };
    assert_eq!(
        runs,
        [
            (ByteRange::new(100, 8192), place),
            (ByteRange::new(8192, 12288), Origin::Zeros),
            (ByteRange::new(12288, 16384), Origin::Decoded),
        ]
    );
}

#[test]
fn external_data_is_read_at_its_own_offset() {
    let clusters = vec![
        Cluster::Data(bytes(1, 4096)),
        Cluster::Unallocated,
        Cluster::Zero { allocated: true },
        Cluster::Data(bytes(2, 4096)),
    ];
    let image = Writer {
        data_file: Some("disk.data"),
        ..Writer::new(12, clusters)
    };
    let (file, data) = image.write();
    let folder = [("disk.qcow2", file), ("disk.data", data)];
    let disk = open(&folder, ALL).unwrap();
    assert_eq!(read_all(&disk), image.disk(&[]));
    let refused = open(&folder, Options::default()).unwrap_err().to_string();
    assert!(
        refused.contains("external data file disk.data") && refused.contains("--chains"),
        "{refused}"
    );
}
