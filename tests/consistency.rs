//! What a reader sees is one version of one image, or an error.
//!
//! Snapshots are switched off: here every view is read from the source itself, which is the engine
//! that has to notice changes.

mod common;

use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::process::{set_mode, test_file};
use common::{
    Lab, MIB, Mount, Options, errno_of, eventually, lines_with, oracle_verify, random_bytes,
    random_image, run_ok, set_mtime, tool,
};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

const SIZE: u64 = 5 * MIB + 100;

/// A source, its mount, and a view of it that is open.
struct Case {
    raw: PathBuf,
    body: Vec<u8>,
    mount: Mount,
    view: File,
    // Gone after the mount.
    _lab: Lab,
}

impl Case {
    fn new() -> Self {
        let lab = Lab::new();
        let folder = lab.folder("source");
        let raw = folder.join("a.raw");
        random_image(&raw, 1, SIZE);
        let mount = Options::default()
            .args(["--snapshot", "never"])
            .foreground()
            .mount(&folder);
        let view = open_past_cache(&mount.join("a.vhd"));
        Self {
            body: fs::read(&raw).expect("the source"),
            raw,
            mount,
            view,
            _lab: lab,
        }
    }

    fn view_path(&self) -> PathBuf {
        self.mount.join("a.vhd")
    }

    /// Panics where the open view is not what it was when it was opened.
    #[track_caller]
    fn assert_view_goes_on(&self) {
        let mut bytes = vec![0; self.body.len()];
        self.view
            .read_exact_at(&mut bytes, 0)
            .expect("an open view goes on");
        assert!(bytes == self.body, "the open view has changed");
    }

    /// Panics where any read or seek of the open view still succeeds.
    #[track_caller]
    fn assert_view_is_stale(&self) {
        let footer = SIZE.next_multiple_of(MIB);
        for offset in [0, 4096, SIZE - 1, SIZE + 10, footer, footer + 100] {
            let result = self.view.read_at(&mut [0; 64], offset);
            assert_eq!(errno_of(result), Errno::STALE, "read at {offset}");
        }
        assert_eq!(seek(&self.view, SeekFrom::Hole(0)), Err(Errno::STALE));
    }

    fn unmount(self) -> String {
        drop(self.view);
        let log = self.mount.log();
        self.mount.unmount();
        log
    }
}

/// Opens a view so that every read of it reaches the program.
fn open_past_cache(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn writable(path: &Path) -> File {
    OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the source")
}

#[test]
fn a_source_replaced_by_rename_goes_on_in_open_views() {
    let case = Case::new();
    let new = case.raw.with_extension("new");
    random_image(&new, 2, SIZE);
    fs::rename(&new, &case.raw).expect("rename");
    case.assert_view_goes_on();
    thread::sleep(Duration::from_secs(1));
    oracle_verify(&case.raw, &case.view_path());
    case.assert_view_goes_on();
    let log = case.unmount();
    assert!(!log.contains("ESTALE"), "{log}");
}

#[test]
fn an_unlinked_source_goes_on_in_open_views() {
    let case = Case::new();
    fs::remove_file(&case.raw).expect("remove");
    case.assert_view_goes_on();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(errno_of(File::open(case.view_path())), Errno::NOENT);
    case.assert_view_goes_on();
    case.unmount();
}

#[test]
fn a_renamed_source_goes_on_in_open_views() {
    let case = Case::new();
    let other = case.raw.with_file_name("b.raw");
    fs::rename(&case.raw, &other).expect("rename");
    case.assert_view_goes_on();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(errno_of(case.view_path().metadata()), Errno::NOENT);
    oracle_verify(&other, &case.mount.join("b.vhd"));
    case.assert_view_goes_on();
    case.unmount();
}

#[test]
fn attributes_alone_change_no_content() {
    let case = Case::new();
    set_mode(&case.raw, 0o600);
    case.assert_view_goes_on();
    chown(&case.raw, Some(12), Some(34)).expect("another owner");
    case.assert_view_goes_on();
    fs::hard_link(&case.raw, case.raw.with_file_name("linked")).expect("a link");
    case.assert_view_goes_on();
    thread::sleep(Duration::from_secs(1));
    let shown = case.view_path().metadata().expect("a view");
    assert_eq!((shown.mode() & 0o777, shown.uid()), (0o400, 12));
    oracle_verify(&case.raw, &case.view_path());
    case.unmount();
}

/// Changes an open source in place, in each way: the view must fail from then on, the log name the
/// file once, and its name lead to the new version.
#[track_caller]
fn assert_change_is_noticed(change: impl FnOnce(&Case)) {
    let case = Case::new();
    case.assert_view_goes_on();
    // Another opening of the same version shares its fate, and its line in the log.
    let second = open_past_cache(&case.view_path());
    change(&case);
    case.assert_view_is_stale();
    assert_eq!(errno_of(second.read_at(&mut [0; 64], 0)), Errno::STALE);
    drop(second);
    thread::sleep(Duration::from_secs(1));
    oracle_verify(&case.raw, &case.view_path());
    case.assert_view_is_stale();
    let log = case.unmount();
    let told = lines_with(&log, "ESTALE");
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("a.raw"), "{log}");
}

#[test]
fn a_write_is_noticed() {
    assert_change_is_noticed(|case| {
        let file = writable(&case.raw);
        file.write_all_at(b"other", 3 * MIB).expect("write");
    });
}

#[test]
fn a_write_of_the_same_bytes_is_noticed() {
    assert_change_is_noticed(|case| {
        let file = writable(&case.raw);
        file.write_all_at(&case.body[..512], 0).expect("write");
    });
}

#[test]
fn a_truncated_source_is_noticed() {
    assert_change_is_noticed(|case| {
        writable(&case.raw).set_len(MIB + 1).expect("truncate");
    });
}

#[test]
fn a_grown_source_is_noticed() {
    assert_change_is_noticed(|case| {
        let file = writable(&case.raw);
        file.write_all_at(b"more", SIZE).expect("append");
    });
}

#[test]
fn a_source_grown_by_a_hole_is_noticed() {
    assert_change_is_noticed(|case| {
        writable(&case.raw).set_len(SIZE + 1).expect("grow");
    });
}

#[test]
fn a_punched_hole_is_noticed() {
    assert_change_is_noticed(|case| {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(writable(&case.raw), flags, MIB, MIB).expect("punch");
    });
}

#[test]
fn a_write_through_a_shared_mapping_is_noticed() {
    assert_change_is_noticed(|case| {
        run_ok(
            Command::new(tool("python3"))
                .arg("-B")
                .arg(test_file("semantics/map_write.py"))
                .arg(&case.raw)
                .args(["4096", "mapped"]),
        );
    });
}

#[test]
fn a_write_with_the_time_set_back_is_noticed() {
    assert_change_is_noticed(|case| {
        let file = writable(&case.raw);
        let mtime = file.metadata().and_then(|meta| meta.modified());
        file.write_all_at(b"quiet", 2 * MIB).expect("write");
        file.set_times(FileTimes::new().set_modified(mtime.expect("a time")))
            .expect("set the time back");
    });
}

#[test]
fn a_touched_source_is_another_version() {
    assert_change_is_noticed(|case| set_mtime(&case.raw, 1_500_000_000, 5));
}

#[test]
fn a_source_replaced_and_then_written_keeps_the_old_view() {
    let case = Case::new();
    let new = case.raw.with_extension("new");
    random_image(&new, 2, SIZE);
    fs::rename(&new, &case.raw).expect("rename");
    writable(&case.raw)
        .write_all_at(b"other", 0)
        .expect("write");
    // Only the new file changed.
    case.assert_view_goes_on();
    case.unmount();
}

#[test]
fn what_the_kernel_has_cached_is_the_old_version() {
    let case = Case::new();
    let cached = File::open(case.view_path()).expect("a view");
    let mut bytes = vec![0; MIB as usize];
    cached.read_exact_at(&mut bytes, 0).expect("a read");
    let file = writable(&case.raw);
    file.write_all_at(&vec![0xEE; SIZE as usize], 0)
        .expect("write");
    for offset in (0..SIZE.next_multiple_of(MIB)).step_by(4096) {
        let mut page = [0; 4096];
        match cached.read_at(&mut page, offset) {
            Ok(length) => {
                let end = (offset as usize + length).min(case.body.len());
                let old = &case.body[offset as usize..end];
                assert!(page[..old.len()] == *old, "page at {offset} is new");
            }
            Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE)),
        }
    }
    drop(cached);
    case.unmount();
}

#[test]
fn an_open_right_after_a_change_gets_the_new_version() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("a.raw");
    random_image(&raw, 0, MIB);
    let mount = Mount::with(&folder, &["--snapshot", "never"]);
    for seed in 1..20 {
        // The kernel knows the old version, and may believe in it for a while.
        mount.join("a.vhd").metadata().expect("a view");
        random_image(&raw, seed, MIB);
        let mut bytes = vec![0; MIB as usize];
        open_past_cache(&mount.join("a.vhd"))
            .read_exact_at(&mut bytes, 0)
            .expect("the new version");
        assert!(bytes == random_bytes(seed, MIB as usize), "round {seed}");
    }
    mount.unmount();
}

#[test]
fn sources_that_come_go_or_change_are_seen_within_a_second() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let mount = Mount::new(&folder);
    let view = mount.join("a.vhd");
    let size = || view.metadata().map(|meta| meta.len());
    let raw = folder.join("a.raw");
    assert_eq!(errno_of(size()), Errno::NOENT);
    for megabytes in [1, 2, 3] {
        random_image(&raw, 1, megabytes * MIB);
        thread::sleep(Duration::from_secs(1));
        assert_eq!(size().expect("a view"), megabytes * MIB + 512);
    }
    // A name that changes its meaning because of a sibling.
    fs::copy(&raw, folder.join("a.img")).expect("a copy");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(errno_of(size()), Errno::NOENT);
    oracle_verify(&folder.join("a.img"), &mount.join("a.img.vhd"));
    fs::remove_file(folder.join("a.img")).expect("remove");
    fs::remove_file(&raw).expect("remove");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(errno_of(size()), Errno::NOENT);
    assert_eq!(mount.path().read_dir().expect("a folder").count(), 0);
    mount.unmount();
}

#[test]
fn two_versions_are_never_mixed() {
    const FILE: usize = 1 << 20;
    const ROUNDS: usize = 150;
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("a.raw");
    fs::write(&raw, vec![0; FILE]).expect("a source");
    let mount = Mount::with(&folder, &["--snapshot", "never"]);
    let done = AtomicBool::new(false);
    let whole = thread::scope(|scope| {
        scope.spawn(|| {
            let file = writable(&raw);
            for pattern in (1..=255_u8).cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // One write, so that the source is never a mix by itself.
                file.write_all_at(&[pattern; FILE], 0).expect("write");
                thread::sleep(Duration::from_micros(u64::from(pattern) * 40));
            }
        });
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let view = mount.join("a.vhd");
                scope.spawn(move || {
                    (0..ROUNDS)
                        .filter(|_| read_is_of_one_version(&view))
                        .count()
                })
            })
            .collect();
        let whole = readers.into_iter().map(|reader| reader.join());
        let whole: Vec<_> = whole.collect();
        done.store(true, Ordering::Relaxed);
        whole
    });
    let whole: usize = whole
        .into_iter()
        .map(|count| count.expect("a reader"))
        .sum();
    assert!(whole > 0, "no reader ever got a whole version");
    mount.unmount();

    /// Whether a whole body could be read; panics where it is of two versions.
    fn read_is_of_one_version(view: &Path) -> bool {
        let stale = |error: &std::io::Error| Errno::from_io_error(error) == Some(Errno::STALE);
        let mut options = OpenOptions::new();
        let file = match options.read(true).custom_flags(libc::O_DIRECT).open(view) {
            Ok(file) => file,
            Err(error) if stale(&error) => return false,
            Err(error) => panic!("{error}"),
        };
        let mut bytes = vec![0; FILE];
        for part in [0, 1, 2, 3] {
            let part = part * FILE / 4..(part + 1) * FILE / 4;
            let offset = part.start as u64;
            match file.read_exact_at(&mut bytes[part], offset) {
                Ok(()) => {}
                Err(error) if stale(&error) => return false,
                Err(error) => panic!("{error}"),
            }
        }
        let mixed = bytes.iter().find(|&&byte| byte != bytes[0]);
        assert_eq!(mixed, None, "{} and another version", bytes[0]);
        true
    }
}

/// The source of one mount is another mount, whose daemon then dies.
#[test]
fn an_error_of_the_source_reaches_the_reader_as_its_errno() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("a.raw"), 1, 4 * MIB);
    let never = ["--snapshot", "never"];
    let below = Mount::with(&folder, &never);
    // Under another name, so that the two daemons can be told apart.
    let alias = lab.path().join("alias");
    symlink(below.path(), &alias).expect("a link");
    let mount = Mount::with(&alias, &never);
    let view = open_past_cache(&mount.join("a.vhd"));
    view.read_exact_at(&mut [0; 4096], 0).expect("a view");
    let daemon = Pid::from_raw(below.pids()[0] as i32).expect("a process id");
    kill_process(daemon, Signal::KILL).expect("kill the daemon below");
    eventually("its end", || below.pids().is_empty());
    for offset in [0, 2 * MIB, 4 * MIB + 100] {
        let mut bytes = [0xEE; 64];
        let result = view.read_at(&mut bytes, offset);
        assert_eq!(errno_of(result), Errno::NOTCONN, "{offset}");
        assert_eq!(bytes, [0xEE; 64], "{offset}");
    }
    assert_eq!(errno_of(mount.path().read_dir().map(drop)), Errno::NOTCONN);
    drop(view);
    mount.unmount();
    run_ok(Command::new(tool("umount")).arg("-l").arg(below.path()));
    below.wait_gone();
}

#[test]
fn open_views_of_a_version_share_one_descriptor() {
    let case = Case::new();
    let more: Vec<_> = (0..20)
        .map(|_| File::open(case.view_path()).expect("a view"))
        .collect();
    let descriptors = |target: &Path| {
        let pid = case.mount.pids()[0];
        let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
        links
            .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
            .filter(|link| link == target)
            .count()
    };
    assert_eq!(descriptors(&case.raw), 1);
    drop(more);
    case.assert_view_goes_on();
    let Case {
        raw,
        mount,
        view,
        _lab,
        ..
    } = case;
    drop(view);
    let pid = mount.pids()[0];
    eventually("the end of the descriptor", || {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
        !links
            .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
            .any(|link| link == raw)
    });
    mount.unmount();
}
