//! New versions of sources: when they are seen, and that no two are ever mixed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::images::{open_past_cache, writable};
use crate::harness::{
    Lab, MIB, Mount, errno_of, eventually, oracle_verify, random_bytes, random_image, run_ok, tool,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

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
    mount.expect_log("a.raw: changed while it was open");
    let done = AtomicBool::new(false);
    let whole = thread::scope(|scope| {
        scope.spawn(|| {
            for pattern in (1..=255_u8).cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // One write, so that the source is never a mix by itself; views open in between.
                let file = writable(&raw);
                file.write_all_at(&[pattern; FILE], 0).expect("write");
                drop(file);
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
        let stale = |error: &std::io::Error| {
            let errno = Errno::from_io_error(error);
            [Some(Errno::STALE), Some(Errno::BUSY)].contains(&errno)
        };
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
    // Requests that meet the end of the connection itself fail with another errno.
    eventually("the end of its connection", || {
        let listed = below.path().read_dir();
        listed.is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    });
    // Until its attributes time out, the kernel may answer for the dead daemon from its cache.
    thread::sleep(Duration::from_secs(1));
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
