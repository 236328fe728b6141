//! Writers of every kind on file systems of every kind, against a plain model: a view that is open
//! gives the bytes that its source had when it was opened, or an error; and once the source is
//! quiet, the view is what the source is.
//!
//! A few sequences each; `PROPTEST_CASES` says how many.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};

use crate::harness::images::Aligned;
use crate::harness::process::MemoryFs;
use crate::harness::writing::{BLOCK, Mapping, Way};
use crate::harness::{
    FileSystem, Lab, Mount, Options, Rng, errno_of, eventually, random_bytes, run_ok, tool,
};
use rustix::io::Errno;

const BLOCKS: usize = 8;
const CASES: u32 = 3;

/// What a file system promises of writers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Promise {
    /// Every one is seen.
    All,
    /// All but mappings without a descriptor.
    NoMappings,
}

#[derive(Clone, Debug)]
enum Step {
    /// Some blocks change, in one of all ways, through one of two mounts of the file system.
    Write {
        way: Way,
        first: usize,
        count: usize,
        by_other_mount: bool,
        seed: u64,
    },
    Open {
        is_direct: bool,
    },
    /// All that are open are read, each at a place that the seed tells.
    Read {
        seed: u64,
    },
    /// Somebody comes who can write, or goes.
    Hold(Holder),
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    Descriptor,
    Mapping { keeps_descriptor: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (
        prop::sample::select(Way::ALL.to_vec()),
        0..BLOCKS,
        1..=BLOCKS,
        any::<bool>(),
        any::<u64>(),
    );
    let write = write.prop_map(|(way, first, count, by_other_mount, seed)| Step::Write {
        way,
        first,
        count: count.min(BLOCKS - first),
        by_other_mount,
        seed,
    });
    let holder = prop_oneof![
        Just(Holder::Descriptor),
        any::<bool>().prop_map(|keeps_descriptor| Holder::Mapping { keeps_descriptor }),
    ];
    let step = prop_oneof![
        3 => write,
        3 => any::<bool>().prop_map(|is_direct| Step::Open { is_direct }),
        3 => any::<u64>().prop_map(|seed| Step::Read { seed }),
        1 => holder.prop_map(Step::Hold),
    ];
    prop::collection::vec(step, 20..60)
}

/// A view that is open.
struct Open {
    file: File,
    is_direct: bool,
    bytes: Vec<u8>,
    /// Which of the files that had the name in turn it is of.
    file_number: usize,
    /// Whether nobody has opened that file for writing since.
    is_quiet: bool,
}

/// Somebody who has the source open for writing.
enum Writer {
    Descriptor { _file: File },
    Mapping { _mapping: Mapping, is_seen: bool },
}

struct Model<'a> {
    raw: PathBuf,
    /// The same file through another mount of its file system.
    by_other_mount: PathBuf,
    view: PathBuf,
    promise: Promise,
    content: Vec<u8>,
    open: Vec<Open>,
    writer: Option<Writer>,
    /// How often another file took the name of the source.
    replaced: usize,
    seen: &'a mut Seen,
}

/// Reads that went on, and that were stale.
#[derive(Debug, Default)]
struct Seen {
    current: usize,
    stale: usize,
}

impl Model<'_> {
    fn step(&mut self, step: &Step) -> TestCaseResult {
        match step {
            Step::Write { .. } if self.writer.is_some() => Ok(()),
            Step::Write {
                way,
                first,
                count,
                by_other_mount,
                seed,
            } => {
                self.write(*way, first * BLOCK, count * BLOCK, *by_other_mount, *seed);
                Ok(())
            }
            Step::Open { is_direct } => self.open_view(*is_direct),
            Step::Read { seed } => self.read_views(*seed),
            Step::Hold(holder) => {
                self.hold_or_let_go(*holder);
                Ok(())
            }
        }
    }

    fn write(&mut self, way: Way, start: usize, length: usize, by_other_mount: bool, seed: u64) {
        self.content[start..start + length].copy_from_slice(&random_bytes(seed, length));
        let path = match by_other_mount {
            true => &self.by_other_mount,
            false => &self.raw,
        };
        let spare = path.with_file_name(".spare");
        let number = || self.view.metadata().map(|found| found.ino()).ok();
        let before = number();
        way.write(path, &self.content, &spare, &mut Rng::new(seed));
        if way.replaces() {
            // Those that are open go on with the file that they have. For up to a second the kernel may take
            // the name for it.
            eventually("the new file", || number() != before);
            self.replaced += 1;
        } else {
            self.somebody_writes();
        }
    }

    fn somebody_writes(&mut self) {
        let concerned = |open: &&mut Open| open.file_number == self.replaced;
        for open in self.open.iter_mut().filter(concerned) {
            open.is_quiet = false;
        }
    }

    fn open_view(&mut self, is_direct: bool) -> TestCaseResult {
        let flags = if is_direct { libc::O_DIRECT } else { 0 };
        let open = || {
            File::options()
                .read(true)
                .custom_flags(flags)
                .open(&self.view)
        };
        let mut opened = open();
        if self.writer.is_none() {
            // A loop device that was detached lets go of its file a moment later.
            eventually("nobody to write", || {
                let is_busy = matches!(&opened, Err(error) if errno(error) == Some(Errno::BUSY));
                if is_busy {
                    opened = open();
                }
                !is_busy
            });
        }
        match &self.writer {
            None => {}
            Some(Writer::Mapping { is_seen: false, .. }) => return Ok(()),
            Some(_) => {
                prop_assert_eq!(errno_of(opened), Errno::BUSY);
                return Ok(());
            }
        }
        let file =
            opened.map_err(|error| TestCaseError::fail(format!("a quiet source: {error}")))?;
        self.open.push(Open {
            file,
            is_direct,
            bytes: self.content.clone(),
            file_number: self.replaced,
            is_quiet: true,
        });
        if self.open.len() > 4 {
            self.open.remove(0);
        }
        Ok(())
    }

    fn read_views(&mut self, seed: u64) -> TestCaseResult {
        let mut memory = Aligned::new();
        let mut rng = Rng::new(seed);
        for (number, open) in self.open.iter().enumerate() {
            let start = rng.below(BLOCKS as u64) as usize * BLOCK;
            let block = memory.get(BLOCK);
            let read = open.file.read_exact_at(block, start as u64);
            match read {
                Ok(()) => {
                    let same = block == &open.bytes[start..start + BLOCK];
                    prop_assert!(same, "view {} at {}: not what was opened", number, start);
                    // What the kernel has in its cache is what was opened.
                    let may_go_on =
                        open.is_quiet || !open.is_direct || self.promise != Promise::All;
                    prop_assert!(may_go_on, "view {} at {}: gave way", number, start);
                    self.seen.current += 1;
                }
                Err(error) => {
                    let is_stale = errno(&error) == Some(Errno::STALE);
                    prop_assert!(is_stale && !open.is_quiet, "view {}: {}", number, error);
                    self.seen.stale += 1;
                }
            }
        }
        Ok(())
    }

    fn hold_or_let_go(&mut self, holder: Holder) {
        if self.writer.take().is_some() {
            return;
        }
        self.writer = Some(match holder {
            Holder::Descriptor => {
                let file = File::options().write(true).open(&self.raw);
                Writer::Descriptor {
                    _file: file.expect("a source"),
                }
            }
            Holder::Mapping { keeps_descriptor } => Writer::Mapping {
                _mapping: Mapping::of(&self.raw, keeps_descriptor),
                is_seen: keeps_descriptor || self.promise == Promise::All,
            },
        });
        self.somebody_writes();
    }

    /// Nobody writes any more.
    fn end(mut self) {
        self.writer = None;
        self.open.clear();
        assert!(fs::read(&self.raw).expect("the source") == self.content);
        eventually("the view to be what the source is", || {
            let read = fs::read(&self.view);
            read.is_ok_and(|bytes| bytes[..self.content.len()] == self.content[..])
        });
        fs::remove_file(&self.raw).expect("remove");
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

fn check(folder: &Path, promise: Promise) {
    let lab = Lab::new();
    let other = lab.folder("other");
    run_ok(
        Command::new(tool("mount"))
            .arg("--bind")
            .arg(folder)
            .arg(&other),
    );
    let _unbind = Unmount(other.clone());
    let mount: Mount = Options::default()
        .args(["--snapshot=never"])
        .allow_log("for writing")
        .allow_log("ESTALE")
        .foreground()
        .mount(folder);
    let mut config = ProptestConfig {
        failure_persistence: None,
        // Each takes seconds.
        max_shrink_iters: 12,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    let seen = std::cell::RefCell::new((0, Seen::default()));
    TestRunner::new(config)
        .run(&steps(), |steps| {
            let (number, seen) = &mut *seen.borrow_mut();
            *number += 1;
            let raw = folder.join(format!("{number}.raw"));
            let content = random_bytes(*number, BLOCKS * BLOCK);
            fs::write(&raw, &content).expect("a source");
            let mut model = Model {
                view: mount.join(format!("{number}.vhd")),
                by_other_mount: other.join(format!("{number}.raw")),
                raw,
                promise,
                content,
                open: Vec::new(),
                writer: None,
                replaced: 0,
                seen,
            };
            for step in &steps {
                model.step(step)?;
            }
            model.end();
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let (cases, seen) = seen.into_inner();
    println!("{cases} sequences of steps: {seen:?}");
    assert!(seen.current > 0 && seen.stale > 0, "{seen:?}");
    mount.unmount();
}

/// Unmounts what lies there.
pub(crate) struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        run_ok(Command::new(tool("umount")).arg("-l").arg(&self.0));
    }
}

/// Tries writers of every kind on a file system where all are seen.
pub(crate) fn all_writers_on(kind: &str, options: &[&str]) {
    let file_system = FileSystem::with(kind, 400 << 20, options);
    check(&file_system.folder("source"), Promise::All);
}

#[test]
fn all_writers_on_ext4() {
    all_writers_on("ext4", &[]);
}

#[test]
fn all_writers_on_ext4_with_a_clock_of_seconds() {
    all_writers_on("ext4", &["-I", "128"]);
}

#[test]
fn all_writers_on_xfs() {
    all_writers_on("xfs", &[]);
}

#[test]
fn all_writers_on_btrfs() {
    all_writers_on("btrfs", &[]);
}

#[test]
fn all_writers_on_tmpfs() {
    let lab = Lab::new();
    let folder = lab.folder("memory");
    let _memory = MemoryFs::on(&folder);
    let source = folder.join("source");
    fs::create_dir(&source).expect("a folder");
    check(&source, Promise::All);
}

/// A folder of an overlayfs above `file_system`, and what unmounts it.
pub(crate) fn overlay(file_system: &FileSystem) -> (PathBuf, Unmount) {
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| file_system.folder(name));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    run_ok(
        Command::new(tool("mount"))
            .args(["-t", "overlay", "vhdfs-test", "-o", &options])
            .arg(&merged),
    );
    let source = merged.join("source");
    let unmount = Unmount(merged);
    fs::create_dir(&source).expect("a folder");
    (source, unmount)
}

#[test]
fn all_writers_but_closed_mappings_on_overlayfs() {
    let file_system = FileSystem::new("ext4", 400 << 20);
    let (source, _unmount) = overlay(&file_system);
    check(&source, Promise::NoMappings);
}
