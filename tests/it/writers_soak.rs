//! Load by writers: eight of mixed kinds on twenty images, with 64 readers of their views. No read is a
//! mix, no view is stale once its source is quiet, and the daemon does not grow. How long writers waited
//! to open an image is printed, and as a control how long the same threads waited at the same time for files
//! that no view shows, and how late they woke from a sleep: for these they wait for a core alone.
//!
//! `VHDFS_SOAK_SECONDS` says for how long; `scripts/soak` sets it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::images::Aligned;
use crate::harness::writing::{BLOCK, Way};
use crate::harness::{Lab, Mount, Options, Rng, eventually};
use crate::soak::{duration, usage};
use rustix::io::Errno;

const IMAGES: usize = 20;
const WRITERS: u64 = 8;
const READERS: u64 = 64;
const SIZE: usize = 16 * BLOCK;
/// No writer should wait longer for a view to give way.
const LONG: Duration = Duration::from_millis(100);

/// Every eight bytes say which version of which image they are of, and where they stand.
fn content(image: u64, version: u64) -> Vec<u8> {
    (0..SIZE as u64 / 8)
        .flat_map(|place| word(image, version, place).to_le_bytes())
        .collect()
}

fn word(image: u64, version: u64, place: u64) -> u64 {
    image << 56 | version << 24 | place
}

/// The version that `bytes`, read from `offset`, are of. Panics where they are a mix.
fn version_of(bytes: &[u8], image: u64, offset: u64) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| {
        let word: [u8; 8] = word.try_into().expect("a word");
        u64::from_le_bytes(word)
    });
    let mut version = None;
    for (number, found) in words.enumerate() {
        let version = *version.get_or_insert(found >> 24 & 0xffff_ffff);
        let expected = word(image, version, offset / 8 + number as u64);
        assert_eq!(found, expected, "image {image} at {offset}, word {number}");
    }
    version.expect("a word")
}

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    refused: AtomicU64,
    read: AtomicU64,
    stale: AtomicU64,
    /// How long images took to be opened for writing.
    waits: Waits,
    /// How long files took that no view shows, written in the same ways.
    control: Waits,
    /// How late the same threads woke that had nothing to wait for but a core.
    wakes: Waits,
}

/// How long each took, and how it was written.
#[derive(Default)]
struct Waits(Mutex<Vec<(Duration, Option<Way>)>>);

impl Waits {
    fn add(&self, waited: Duration, way: Option<Way>) {
        self.0.lock().expect("no panic").push((waited, way));
    }

    fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut waits = self.0.lock().expect("no panic");
        waits.sort_unstable_by_key(|(wait, _)| *wait);
        let at = |part: usize| {
            let place = (waits.len() * part / 1000).min(waits.len().saturating_sub(1));
            waits.get(place).map_or(Duration::ZERO, |(wait, _)| *wait)
        };
        let long = waits.partition_point(|(wait, _)| *wait <= LONG);
        write!(
            out,
            "median {:.1?}, 99.9 % {:.1?}, longest {:.1?}, {} of {} above 100 ms",
            at(500),
            at(999),
            at(1000),
            waits.len() - long,
            waits.len()
        )?;
        let mut ways = waits[long..]
            .iter()
            .filter_map(|(wait, way)| Some((wait, (*way)?)));
        ways.try_for_each(|(wait, way)| write!(out, "; {wait:.0?} {way:?}"))
    }
}

struct Load {
    folder: PathBuf,
    /// A folder of the same file system that is not mounted.
    control: PathBuf,
    /// The latest version of each; who writes one holds its lock.
    versions: Vec<Mutex<u64>>,
    counts: Counts,
}

impl Load {
    fn path(&self, image: usize) -> PathBuf {
        self.folder.join(format!("{image}.raw"))
    }

    fn write_until(&self, end: Instant, writer: u64) {
        let mut rng = Rng::new(1000 + writer);
        let spare = |folder: &Path| folder.join(format!(".spare{writer}"));
        let control = self.control.join(format!("{writer}.raw"));
        fs::write(&control, content(writer, 0)).expect("a file");
        // Before readers, where that is permitted: what is measured is how soon views give way.
        let _ = rustix::process::setpriority_process(None, -20);
        while Instant::now() < end {
            let image = rng.below(IMAGES as u64) as usize;
            let way = Way::ALL[rng.below(Way::ALL.len() as u64) as usize];
            let mut version = self.versions[image].lock().expect("no panic");
            let new = content(image as u64, *version + 1);
            let waited = way.write(&self.path(image), &new, &spare(&self.folder), &mut rng);
            *version += 1;
            drop(version);
            let control = way.write(&control, &new, &spare(&self.control), &mut rng);
            // That is no time to wait for others.
            if !way.replaces() && way != Way::LoopDevice {
                self.counts.waits.add(waited, Some(way));
                self.counts.control.add(control, Some(way));
            }
            let pause = Duration::from_millis(1 + rng.below(20));
            let begun = Instant::now();
            thread::sleep(pause);
            self.counts
                .wakes
                .add(begun.elapsed().saturating_sub(pause), None);
        }
    }

    fn read_until(&self, end: Instant, reader: u64, mount: &Mount) {
        let mut rng = Rng::new(reader);
        let mut memory = Aligned::new();
        let flags = if reader.is_multiple_of(3) {
            libc::O_DIRECT
        } else {
            0
        };
        while Instant::now() < end {
            let image = rng.below(IMAGES as u64);
            let view = mount.join(format!("{image}.vhd"));
            let opened = File::options().read(true).custom_flags(flags).open(view);
            let file = match opened {
                Ok(file) => file,
                Err(error) => {
                    assert!(gives_way(&error), "{error}");
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            };
            self.counts.opened.fetch_add(1, Ordering::Relaxed);
            self.read_view(&file, image, &mut memory, &mut rng);
        }
    }

    fn read_view(&self, file: &File, image: u64, memory: &mut Aligned, rng: &mut Rng) {
        let mut version = None;
        for _ in 0..16 {
            let offset = rng.below((SIZE / BLOCK) as u64) * BLOCK as u64;
            let bytes = memory.get(BLOCK);
            match file.read_exact_at(bytes, offset) {
                Ok(()) => {
                    let found = version_of(bytes, image, offset);
                    assert_eq!(
                        found,
                        *version.get_or_insert(found),
                        "two versions in one view"
                    );
                    self.counts.read.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert!(gives_way(&error), "{error}");
                    self.counts.stale.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn run(&self, mount: &Mount, duration: Duration) {
        let end = Instant::now() + duration;
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                scope.spawn(move || self.write_until(end, writer));
            }
            for reader in 0..READERS {
                scope.spawn(move || self.read_until(end, reader, mount));
            }
        });
    }
}

fn gives_way(error: &io::Error) -> bool {
    // A file that is truncated is no image for a moment.
    let expected = [Errno::BUSY, Errno::STALE, Errno::NOENT].map(Some);
    expected.contains(&Errno::from_io_error(error))
}

#[test]
fn writers_of_all_kinds_while_views_are_read() {
    let lab = Lab::new();
    let load = Load {
        folder: lab.folder("source"),
        control: lab.folder("control"),
        versions: (0..IMAGES).map(|_| Mutex::new(0)).collect(),
        counts: Counts::default(),
    };
    for image in 0..IMAGES {
        fs::write(load.path(image), content(image as u64, 0)).expect("an image");
    }
    let mount = Options::default()
        .args(["--snapshot=never"])
        .allow_log("for writing")
        .allow_log("ESTALE")
        // A writer cuts an image to nothing before it writes it anew.
        .allow_log("does not appear: empty")
        .mount(&load.folder);
    let pid = mount.pids()[0];
    let half = duration() / 2;
    load.run(&mount, half);
    let (memory, descriptors) = usage(pid);
    load.run(&mount, half);
    let (memory_after, descriptors_after) = usage(pid);
    for image in 0..IMAGES {
        let latest = *load.versions[image].lock().expect("no panic");
        eventually("the latest version", || {
            let view = fs::read(mount.join(format!("{image}.vhd")));
            view.is_ok_and(|bytes| version_of(&bytes[..SIZE], image as u64, 0) == latest)
        });
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = &load.counts;
    println!(
        "{:?}: {} views opened, {} refused; {} reads, {} stale; \
         {memory} KiB and {descriptors} descriptors, then {memory_after} and {descriptors_after}\n\
         images opened for writing: {}\nfiles that no view shows: {}\nwriters woke late: {}",
        duration(),
        count(&counts.opened),
        count(&counts.refused),
        count(&counts.read),
        count(&counts.stale),
        counts.waits,
        counts.control,
        counts.wakes,
    );
    assert!(count(&counts.read) > 100 && counts.waits.count() > 10);
    assert!(
        descriptors_after <= descriptors + 8,
        "{descriptors_after} descriptors"
    );
    assert!(
        memory_after < memory + memory / 2 + 16_384,
        "{memory_after} KiB"
    );
    mount.unmount();
}
