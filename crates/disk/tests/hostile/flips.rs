//! Small images that programs made, with bytes of them changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use disk::Disk;
use disk::format::{Container, Damage, Origin};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use crate::harness::{Limits, alone, open, vhdx};

/// How much of a disk is read at once, and compared, in bytes.
const STEP: usize = 512;

/// The corpora of the fuzzers, made by qemu-img, xz and the writers of the tests: folder, and the name of an image.
const CORPORA: [(&str, &str); 7] = [
    ("qcow2", "disk.qcow2"),
    ("vhd", "disk.vhd"),
    ("vhdx", "disk.vhdx"),
    ("vmdk", "disk.vmdk"),
    ("vdi", "disk.vdi"),
    ("ova", "disk.ova"),
    ("xz", "disk.raw.xz"),
];

struct Sample {
    name: String,
    file: Vec<u8>,
    /// The disk in it.
    disk: Vec<u8>,
    /// For each of its bytes that lies in the file as it is: where.
    plain: Vec<(std::ops::Range<usize>, usize)>,
}

fn samples() -> Vec<Sample> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut samples = Vec::new();
    for (folder, name) in CORPORA {
        let mut files: Vec<_> = fs::read_dir(corpora.join(folder))
            .expect("a corpus")
            .map(|entry| entry.expect("a file").path())
            .collect();
        files.sort();
        let before = samples.len();
        for path in files {
            let mut file = fs::read(&path).expect("an image");
            if folder == "vhdx" {
                file = vhdx(&file);
            }
            // What the fuzzers found is damaged, and other images need others.
            let Ok(opened) = open(name, Arc::new(file.clone())) else {
                continue;
            };
            if opened.details().format.name() == "raw" || opened.size() > 4 << 20 {
                continue;
            }
            let mut disk = vec![0; opened.size() as usize];
            if opened.read_exact_at(&mut disk, 0).is_err() {
                continue;
            }
            let Some(plain) = plain(&opened) else {
                continue;
            };
            let name = format!("{}/{name}", path.display());
            samples.push(Sample {
                name,
                file,
                disk,
                plain,
            });
        }
        assert!(samples.len() > before, "no image in {folder}");
    }
    samples
}

/// The ranges of a disk that lie in the image's own file, and where; `None` if others lie in a further file.
fn plain(disk: &Container) -> Option<Vec<(std::ops::Range<usize>, usize)>> {
    let mut plain = Vec::new();
    for run in disk.runs(disk::ByteRange::new(0, disk.size())) {
        let run = run.expect("a run");
        match run.origin {
            Origin::File { file: 0, offset } => plain.push((
                run.range.start() as usize..run.range.end() as usize,
                offset as usize,
            )),
            Origin::File { .. } => return None,
            Origin::Zeros | Origin::Decoded => {}
        }
    }
    Some(plain)
}

impl Sample {
    /// Where the byte at `at` of the file stands in the disk, if it is one of data as it is. Then nothing else may
    /// depend on it.
    fn place(&self, at: usize) -> Option<usize> {
        let mut places = self.plain.iter().filter_map(|(disk, start)| {
            let within = at.checked_sub(*start).filter(|at| *at < disk.len())?;
            Some(disk.start + within)
        });
        places.next()
    }

    fn check(&self, changes: &[(Index, u8)]) {
        let mut file = self.file.clone();
        let mut places = Some(Vec::new());
        for (at, flip) in changes {
            let at = at.index(file.len());
            file[at] ^= flip;
            match (self.place(at), &mut places) {
                (Some(place), Some(places)) => places.push(place),
                _ => places = None,
            }
        }
        let limits = Limits::begin();
        let name = self.name.rsplit('/').next().unwrap_or_default();
        let opened = open(name, Arc::new(file));
        match (opened, places) {
            (Ok(disk), Some(places)) => self.compare(&disk, &places),
            (Ok(disk), None) => read_some(&disk),
            (Err(error), None) => assert!(!error.to_string().is_empty()),
            (Err(error), Some(_)) => panic!("{}: data keeps it away: {error}", self.name),
        }
        limits.check(&self.name);
    }

    /// Checks that all of the disk is right but for the bytes at these places.
    fn compare(&self, disk: &Container, places: &[usize]) {
        assert_eq!(disk.size(), self.disk.len() as u64, "{}", self.name);
        let mut found = vec![0; self.disk.len()];
        disk.read_exact_at(&mut found, 0).expect("all of the disk");
        for place in places {
            found[*place] = self.disk[*place];
        }
        assert!(found == self.disk, "{}: more than {places:?}", self.name);
    }
}

/// Reads a disk that may be damaged in any way.
fn read_some(disk: &Container) {
    let mut sector = [0; STEP];
    let steps = (disk.size() / STEP as u64).min(200);
    for number in 0..steps {
        for at in [
            number * STEP as u64,
            disk.size() - (number + 1) * STEP as u64,
        ] {
            if let Err(error) = disk.read_exact_at(&mut sector, at) {
                assert!(Damage::of(&error).is_some(), "{error}");
            }
        }
    }
    let _ = disk.next_data(0).expect("data or none");
}

#[test]
fn changed_bytes_of_small_images_neither_break_nor_lie() {
    let _alone = alone();
    let samples = samples();
    let change = (any::<Index>(), 1_u8..);
    let strategy = (any::<Index>(), proptest::collection::vec(change, 1..4));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let checked = runner.run(&strategy, |(which, changes)| {
        which.get(&samples).check(&changes);
        Ok(())
    });
    checked.expect("bounded, and right where nothing was changed");
}

#[test]
fn every_byte_of_a_header_may_be_anything() {
    let _alone = alone();
    for sample in samples() {
        for at in 0..sample.file.len().min(640) {
            for flip in [0xff, 0x80, 1] {
                let mut file = sample.file.clone();
                file[at] ^= flip;
                let name = sample.name.rsplit('/').next().unwrap_or_default();
                if let Ok(disk) = open(name, Arc::new(file)) {
                    let mut sector = [0; STEP];
                    let count = disk.size().min(STEP as u64) as usize;
                    let _ = disk.read_exact_at(&mut sector[..count], 0);
                    let _ = disk.read_exact_at(&mut sector[..count], disk.size() - count as u64);
                }
            }
        }
    }
}
