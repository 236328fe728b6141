//! What a reader sees is one version of one image, or an error.
//!
//! Snapshots are switched off: here every view is read from the source itself, which is the engine
//! that has to notice changes.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::harness::images::{open_past_cache, writable};
use crate::harness::process::{set_mode, test_file};
use crate::harness::{
    Lab, MIB, Mount, Options, errno_of, eventually, lines_with, oracle_verify, random_image,
    run_ok, set_mtime, tool,
};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

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
    case.mount
        .expect_log("a.raw: changed while it was open; reads of it now fail with ESTALE");
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
    case.mount.allow_log("a.raw: changed while it was open");
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
