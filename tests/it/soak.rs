//! Load: many readers of all kinds on mixed views, while sources are replaced. No byte is wrong, and
//! the daemon does not grow.
//!
//! `VHDFS_SOAK_SECONDS` says for how long; `scripts/soak` sets it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::images::Aligned;
use crate::harness::process::test_file;
use crate::harness::{Lab, MIB, Mount, Rng, run_ok, stdout_of, tool};

/// Threads that read in order, at random and past the cache.
const READERS: u64 = 48;
/// Processes that map views into memory, which takes `unsafe` in Rust.
const MAPPERS: u64 = 16;
const STABLE: u64 = 4;
const REPLACED: u64 = 4;
/// Versions that take one another's place.
const VERSIONS: u64 = 24;
const SIZE: u64 = 3 * MIB + 1000;

pub(crate) fn duration() -> Duration {
    let seconds = std::env::var("VHDFS_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(20, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// Every eight bytes of an image tell the image's seed and their own place, so that any read can
/// be judged by itself, and bytes of two versions in one read are noticed.
fn word(seed: u64, offset: u64) -> [u8; 8] {
    ((seed << 40) | (offset / 8)).to_le_bytes()
}

/// The bytes of all images that there will be, made once: the readers shall load the mount.
struct Images(Vec<Vec<u8>>);

impl Images {
    fn new() -> Self {
        let image = |seed| (0..SIZE / 8).flat_map(|n| word(seed, n * 8)).collect();
        Self((0..STABLE + VERSIONS).map(image).collect())
    }

    /// Writes each of them into a file of `folder` that is called by its seed.
    fn write(&self, folder: &Path) {
        for (seed, image) in self.0.iter().enumerate() {
            fs::write(folder.join(seed.to_string()), image).expect("an image");
        }
    }

    /// The seed of the image that `bytes`, read from `offset`, belong to. Panics where they are of
    /// none or of several.
    fn seed_of(&self, bytes: &[u8], offset: u64, name: &Path) -> u64 {
        let seed = u64::from_le_bytes(bytes[..8].try_into().expect("a word")) >> 40;
        let image = self.0.get(seed as usize).expect("an image of ours");
        let want = &image[offset as usize..][..bytes.len()];
        assert!(bytes == want, "{}: wrong bytes at {offset}", name.display());
        seed
    }
}

/// Reads one view for a while in one of the ways that readers have; answers the number of reads.
fn read_for_a_while(
    images: &Images,
    view: &Path,
    kind: u64,
    rng: &mut Rng,
    expected: Option<u64>,
) -> u64 {
    let mut options = File::options();
    options.read(true);
    if kind == 2 {
        options.custom_flags(libc::O_DIRECT);
    }
    let Ok(file) = options.open(view) else {
        // Between two versions there is none, and a version that is gone is refused.
        assert_eq!(expected, None, "{}: cannot be opened", view.display());
        return 0;
    };
    let mut buffer = Aligned::new();
    let mut seen = expected;
    let mut reads = 0;
    for n in 0..32 {
        let length = [4096, 65_536, MIB][rng.below(3) as usize];
        let offset = match kind {
            0 => n * length % (SIZE - MIB) / 4096 * 4096,
            _ => rng.below((SIZE - MIB) / 4096) * 4096,
        };
        let bytes = buffer.get(length as usize);
        match file.read_exact_at(bytes, offset) {
            Ok(()) => {
                let seed = images.seed_of(bytes, offset, view);
                let first = *seen.get_or_insert(seed);
                assert_eq!(
                    seed,
                    first,
                    "{}: two versions in one open view",
                    view.display()
                );
                reads += 1;
            }
            // A source that is replaced by rename stays readable for those who have it open.
            Err(error) => panic!("{}: {error}", view.display()),
        }
    }
    reads
}

/// Resident memory in KiB and number of descriptors of a process.
pub(crate) fn usage(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|text| text.trim().strip_suffix(" kB"));
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    let memory = memory.and_then(|text| text.trim().parse().ok());
    (memory.expect("a size"), descriptors.count())
}

struct Sources {
    lab: Lab,
    folder: PathBuf,
    images: Images,
    replaced: AtomicU64,
}

impl Sources {
    fn new() -> Self {
        let lab = Lab::new();
        let folder = lab.folder("source");
        let images = Images::new();
        images.write(&lab.folder("images"));
        for number in 0..STABLE {
            let path = folder.join(format!("stable{number}.raw"));
            fs::write(path, &images.0[number as usize]).expect("an image");
        }
        let sources = Self {
            lab,
            folder,
            images,
            replaced: AtomicU64::new(0),
        };
        (0..REPLACED).for_each(|number| sources.replace(number));
        sources
    }

    /// A new version takes the place of an old one, as those who build images do it.
    fn replace(&self, number: u64) {
        let seed = STABLE + self.replaced.fetch_add(1, Ordering::Relaxed) % VERSIONS;
        let new = self.lab.path().join(format!("new{number}"));
        fs::write(&new, &self.images.0[seed as usize]).expect("an image");
        let old = self.folder.join(format!("replaced{number}.raw"));
        fs::rename(new, old).expect("replace a source");
    }
}

/// Reads with all readers for so long; answers the number of reads.
fn load(sources: &Sources, mount: &Mount, duration: Duration) -> u64 {
    let end = Instant::now() + duration;
    let total = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| total.fetch_add(map_views(sources, mount, duration), Ordering::Relaxed));
        for reader in 0..READERS {
            let total = &total;
            scope.spawn(move || {
                let mut rng = Rng::new(reader);
                while Instant::now() < end {
                    let kind = reader % 3;
                    let (name, expected) = match rng.below(2) {
                        0 => {
                            let number = rng.below(STABLE);
                            (format!("stable{number}.vhd"), Some(number))
                        }
                        _ => (format!("replaced{}.vhd", rng.below(REPLACED)), None),
                    };
                    let reads = read_for_a_while(
                        &sources.images,
                        &mount.join(name),
                        kind,
                        &mut rng,
                        expected,
                    );
                    total.fetch_add(reads, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let mut number = 0;
            while Instant::now() < end {
                sources.replace(number % REPLACED);
                number += 1;
                thread::sleep(Duration::from_millis(50));
            }
        });
    });
    total.into_inner()
}

/// Reads through memory mappings for so long; answers the number of reads.
fn map_views(sources: &Sources, mount: &Mount, duration: Duration) -> u64 {
    let mut command = Command::new(tool("python3"));
    command
        .arg(test_file("soak/map_views.py"))
        .arg(mount.path())
        .arg(duration.as_secs_f64().to_string())
        .args([MAPPERS, STABLE, REPLACED].map(|number| number.to_string()))
        .arg(sources.lab.path().join("images"));
    let reads = stdout_of(&mut command);
    let reads = reads.trim().parse().expect("a number of reads");
    assert!(reads > MAPPERS, "only {reads} reads");
    reads
}

#[test]
fn readers_of_all_kinds_while_sources_are_replaced() {
    let sources = Sources::new();
    let mount = Mount::new(&sources.folder);
    let pid = mount.pids()[0];
    let half = duration() / 2;
    let mut reads = load(&sources, &mount, half);
    let (memory, descriptors) = usage(pid);
    reads += load(&sources, &mount, half);
    let (memory_after, descriptors_after) = usage(pid);
    println!(
        "{reads} reads, {} versions; {memory} KiB and {descriptors} descriptors, then {memory_after} and {descriptors_after}",
        sources.replaced.load(Ordering::Relaxed)
    );
    assert!(reads > 1000, "only {reads} reads");
    // Nothing is open any more; a few come and go with the threads.
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

/// fio writes patterns with a checksum in each block, and verifies them through the mount: in order, at
/// random, through mmap and past the cache.
#[test]
fn fio_verifies_its_patterns() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let size = "64m";
    let fio = |file: &Path, arguments: &[&str]| {
        let mut command = Command::new(tool("fio"));
        command
            .args([
                "--name=soak",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--bs=64k",
            ])
            .arg(format!("--size={size}"))
            .arg(format!("--filename={}", file.display()))
            .args(arguments);
        run_ok(command.current_dir(lab.path()));
    };
    fio(
        &source.join("a.raw"),
        &["--rw=write", "--do_verify=0", "--ioengine=psync"],
    );
    for options in [["--snapshot", "never"], ["--snapshot", "auto"]] {
        let mount = Mount::with(&source, &options);
        for arguments in [
            ["--rw=read", "--ioengine=psync", "--direct=0"],
            ["--rw=randread", "--ioengine=psync", "--direct=0"],
            ["--rw=read", "--ioengine=mmap", "--direct=0"],
            ["--rw=randread", "--ioengine=psync", "--direct=1"],
        ] {
            let mut arguments = arguments.to_vec();
            arguments.extend(["--readonly", "--verify_only=0", "--numjobs=4"]);
            fio(&mount.join("a.vhd"), &arguments);
        }
        mount.unmount();
    }
}
