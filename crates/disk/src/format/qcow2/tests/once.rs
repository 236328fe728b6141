//! How often blocks are decompressed, and what that takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::{io, thread};

use super::super::writer::{Cluster, Writer};
use super::bytes;
use crate::cache::Caches;
use crate::format::{Container, Given, Opening, Options, Step};
use crate::{ByteRange, Disk};

/// Number of clusters of the image, and their size.
const CLUSTERS: usize = 64;
const SIZE: usize = 4096;

/// A file that counts how often each place is read from.
#[derive(Default)]
struct Counted {
    bytes: Vec<u8>,
    reads: Mutex<HashMap<u64, usize>>,
}

impl Disk for Counted {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        *self.reads.lock().unwrap().entry(offset).or_default() += 1;
        self.bytes.read_exact_at(buffer, offset)
    }
}

/// An image of compressed clusters only, and the disk in it.
fn image() -> (Arc<Counted>, Vec<u8>) {
    let clusters = (0..CLUSTERS)
        .map(|number| Cluster::Compressed(bytes(number as u8, SIZE)))
        .collect();
    let image = Writer::new(12, clusters);
    let file = Counted {
        bytes: image.write().0,
        ..Counted::default()
    };
    (Arc::new(file), image.disk(&[]))
}

fn open(file: &Arc<Counted>, threads: usize) -> Container {
    let given = Given {
        name: "disk.qcow2".to_owned(),
        identity: (0, 0),
        bytes: Arc::clone(file) as _,
    };
    let caches = Caches::new(4 << 20, threads);
    let mut opening = Opening::new(given, Options::default(), caches);
    match opening.step() {
        Ok(Step::Ready(disk)) => {
            file.reads.lock().unwrap().clear();
            disk
        }
        other => panic!("{other:?}"),
    }
}

/// Number of reads of compressed clusters of a file, and of different ones.
fn decoded(file: &Counted) -> (usize, usize) {
    // The header, the L1 and the L2 table come first.
    let reads = file.reads.lock().unwrap();
    let reads = reads.iter().filter(|(at, _)| **at >= 3 * SIZE as u64);
    let counts: Vec<usize> = reads.map(|(_, count)| *count).collect();
    (counts.iter().sum(), counts.len())
}

#[test]
#[cfg_attr(miri, ignore = "it does not know how parking_lot waits")]
fn a_sequential_reader_has_each_cluster_decompressed_once() {
    for threads in [0, 1, 3] {
        let (file, want) = image();
        let disk = open(&file, threads);
        for (number, want) in want.chunks(1000).enumerate() {
            let mut found = vec![0; want.len()];
            disk.read_exact_at(&mut found, number as u64 * 1000)
                .unwrap();
            assert_eq!(found, want);
        }
        assert_eq!(decoded(&file), (CLUSTERS, CLUSTERS), "{threads} threads");
    }
}

#[test]
#[cfg_attr(miri, ignore = "it does not know how parking_lot waits")]
fn many_readers_share_what_is_decompressed() {
    let (file, want) = image();
    let disk = open(&file, 2);
    thread::scope(|scope| {
        for reader in 0..16 {
            let (disk, want) = (&disk, &want);
            scope.spawn(move || {
                for step in 0..CLUSTERS {
                    let at = (step + reader * 5) % CLUSTERS * SIZE;
                    let mut found = vec![0; SIZE];
                    disk.read_exact_at(&mut found, at as u64).unwrap();
                    assert_eq!(found, want[at..at + SIZE]);
                }
            });
        }
    });
    assert_eq!(decoded(&file), (CLUSTERS, CLUSTERS));
}

#[test]
fn a_random_read_decompresses_one_cluster_and_the_next_in_it_none() {
    let (file, _) = image();
    let disk = open(&file, 2);
    let mut sector = [0; 512];
    for at in [47, 41, 40] {
        disk.read_exact_at(&mut sector, at * 512 + 40 * SIZE as u64 / 2)
            .unwrap();
        assert_eq!(decoded(&file), (1, 1));
    }
}

#[test]
#[cfg_attr(miri, ignore = "it does not know how parking_lot waits")]
fn a_cluster_that_is_damaged_fails_every_reader_and_no_other() {
    let (file, want) = image();
    let mut bytes = file.bytes.clone();
    // The first compressed cluster: a deflate block of the reserved type.
    bytes[3 * SIZE] = 0x07;
    let file = Arc::new(Counted {
        bytes,
        ..Counted::default()
    });
    let disk = open(&file, 2);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert!(disk.read_exact_at(&mut [0; 10], 5).is_err());
                let mut found = vec![0; SIZE];
                disk.read_exact_at(&mut found, SIZE as u64).unwrap();
                assert_eq!(found, want[SIZE..2 * SIZE]);
            });
        }
    });
    let runs = disk.runs(ByteRange::new(0, disk.size())).count();
    assert_eq!(runs, 1);
}
