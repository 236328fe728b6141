//! Whoever writes a source, and however: a view is one version of it, or an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::harness::images::{open_past_cache, writable};
use crate::harness::process::tool;
use crate::harness::writing::{BLOCK, Mapping};
use crate::harness::{
    FileSystem, Lab, Loop, MIB, Mount, Options, User, errno_of, eventually, lines_with,
    oracle_verify, random_image, run, run_ok, stdout_of, vhdfs,
};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;

const SIZE: usize = 4 << 20;

/// A source folder with the image `a.raw`, and its mount; snapshots are switched off, so that every
/// view is read from its source.
struct Case {
    raw: PathBuf,
    mount: Mount,
    _lab: Lab,
}

impl Case {
    fn new(arguments: &[&str]) -> Self {
        let lab = Lab::new();
        let raw = lab.folder("source").join("a.raw");
        random_image(&raw, 1, SIZE as u64);
        Self {
            mount: mount(raw.parent().expect("a folder"), arguments),
            raw,
            _lab: lab,
        }
    }

    fn view(&self) -> PathBuf {
        self.mount.join("a.vhd")
    }

    /// Panics where a line of the log does not name the image and say all of `words`.
    #[track_caller]
    fn assert_log_says(&self, words: &[&str]) {
        eventually("a line of the log", || {
            let log = self.mount.log();
            let lines = lines_with(&log, "a.raw");
            let says = |line: &str| words.iter().all(|word| line.contains(word));
            lines.into_iter().any(says)
        });
    }
}

fn mount(folder: &Path, arguments: &[&str]) -> Mount {
    let never: &[&str] = match arguments.iter().any(|one| one.starts_with("--snapshot")) {
        true => &[],
        false => &["--snapshot=never"],
    };
    Options::default()
        .args(never)
        .args(arguments)
        .allow_log("for writing")
        .allow_log("write lease")
        .allow_log("ESTALE")
        .foreground()
        .mount(folder)
}

fn stamped(version: u8) -> Vec<u8> {
    vec![version; BLOCK]
}

/// Reads a view of such an image whole; its only version, or why it cannot be read.
///
/// Panics where it is a mix.
fn version_of(view: &Path, size: usize) -> io::Result<u8> {
    let mut file = File::open(view)?;
    let mut block = stamped(0);
    let mut seen = None;
    for number in 0..size / BLOCK {
        file.read_exact(&mut block)?;
        let version = *seen.get_or_insert(block[0]);
        let is_whole = block.iter().all(|&byte| byte == version);
        assert!(is_whole, "block {number} is not all of version {version}");
    }
    Ok(seen.expect("a block"))
}

#[test]
fn a_source_that_is_open_for_writing_is_not_opened_and_the_log_says_who_has_it() {
    let case = Case::new(&[]);
    let mut writer = Command::new(tool("sleep"))
        .arg("600")
        .stdout(writable(&case.raw))
        .spawn()
        .expect("a process");
    assert_eq!(errno_of(File::open(case.view())), Errno::BUSY);
    let name = format!("sleep, process {}", writer.id());
    case.assert_log_says(&["open for writing", &name, "--writers"]);
    writer.kill().expect("kill");
    writer.wait().expect("its end");
    oracle_verify(&case.raw, &case.view());
}

#[test]
fn the_confined_daemon_says_who_writes_through_another_mount_as_another_user() {
    let case = Case::new(&["--sandbox=require"]);
    let other = case._lab.folder("other");
    let source = case.raw.parent().expect("a folder");
    run_ok(
        Command::new(tool("mount"))
            .arg("--bind")
            .arg(source)
            .arg(&other),
    );
    let mut writer = User::ordinary()
        .command(tool("sleep"))
        .arg("600")
        .stdout(writable(&other.join("a.raw")))
        .spawn()
        .expect("a process");
    assert_eq!(errno_of(File::open(case.view())), Errno::BUSY);
    let name = format!("sleep, process {}", writer.id());
    case.assert_log_says(&["open for writing", &name]);
    writer.kill().expect("kill");
    writer.wait().expect("its end");
    run_ok(Command::new(tool("umount")).arg("-l").arg(&other));
}

/// Takes a write lease on the file of its first argument, and gives it back to nobody.
const LEASER: &str = r"
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('leased', flush=True)
sys.stdin.read()
";

#[test]
fn a_write_lease_of_somebody_else_is_not_waited_for() {
    let case = Case::new(&[]);
    let mut leaser = Command::new(tool("python3"))
        .args(["-c", LEASER])
        .arg(&case.raw)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut answer = [0; 7];
    let output = leaser.stdout.as_mut().expect("its output");
    output.read_exact(&mut answer).expect("a lease");
    assert_eq!(errno_of(case.view().metadata()), Errno::BUSY);
    case.assert_log_says(&["write lease"]);
    drop(leaser.stdin.take());
    leaser.wait().expect("its end");
    oracle_verify(&case.raw, &case.view());
}

#[test]
fn a_mapping_without_a_descriptor_counts_as_open_for_writing() {
    let case = Case::new(&[]);
    let mut mapping = Mapping::of(&case.raw, false);
    mapping.fill(0..SIZE / 2, b'B');
    assert_eq!(errno_of(File::open(case.view())), Errno::BUSY);
    mapping.fill(SIZE / 2..SIZE, b'B');
    drop(mapping);
    eventually("the source to be quiet", || File::open(case.view()).is_ok());
    oracle_verify(&case.raw, &case.view());
    assert_eq!(
        version_of(&case.view(), SIZE).expect("a quiet source"),
        b'B'
    );
}

#[test]
fn a_view_gives_way_to_a_mapping_and_never_mixes() {
    let case = Case::new(&[]);
    fs::write(&case.raw, vec![b'A'; SIZE]).expect("a source");
    eventually("the new version", || {
        version_of(&case.view(), SIZE).is_ok_and(|version| version == b'A')
    });
    let view = open_past_cache(&case.view());
    let mut block = vec![0; 4096];
    view.read_exact_at(&mut block, 0).expect("a settled view");
    let mut mapping = Mapping::of(&case.raw, false);
    for step in 0..8 {
        mapping.fill(step * SIZE / 8..(step + 1) * SIZE / 8, b'B');
        let read = view.read_at(&mut block, (step * SIZE / 8) as u64);
        assert_eq!(errno_of(read), Errno::STALE);
    }
    drop(mapping);
    case.assert_log_says(&["O_NONBLOCK"]);
    eventually("the new version", || {
        version_of(&case.view(), SIZE).is_ok_and(|version| version == b'B')
    });
    let log = case.mount.log();
    assert_eq!(lines_with(&log, "ESTALE").len(), 1, "{log}");
}

/// Overwrites a source again and again, as `write` does it, while others read its view.
#[track_caller]
fn assert_no_mix(case: &Case, write: impl Fn(u8)) {
    let (is_over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let last = 6;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    match version_of(&case.view(), SIZE) {
                        Ok(_) => {
                            reads.fetch_add(1, Ordering::AcqRel);
                        }
                        Err(error) => {
                            let expected = [Some(Errno::BUSY), Some(Errno::STALE)];
                            assert!(expected.contains(&Errno::from_io_error(&error)), "{error}");
                        }
                    }
                }
            });
        }
        for version in 1..=last {
            write(version);
            // Some of them get to see it.
            let before = reads.load(Ordering::Acquire);
            eventually("a reader", || reads.load(Ordering::Acquire) > before);
        }
        is_over.store(true, Ordering::Release);
    });
    let now = version_of(&case.view(), SIZE).expect("a quiet source");
    assert_eq!(now, last, "once it is quiet, a view is what its source is");
}

#[test]
fn direct_writes_in_flight_are_never_mixed_with_what_was_there() {
    let case = Case::new(&[]);
    fs::write(&case.raw, vec![0; SIZE]).expect("a source");
    // Direct writes want memory that is aligned, which that of a mapping is.
    let blocks = case.raw.with_extension("blocks");
    assert_no_mix(&case, |version| {
        fs::write(&blocks, vec![version; SIZE]).expect("the new version");
        run_ok(
            Command::new(tool("dd"))
                .arg(format!("if={}", blocks.display()))
                .arg(format!("of={}", case.raw.display()))
                .args(["bs=64k", "oflag=direct", "conv=notrunc", "status=none"]),
        );
    });
}

#[test]
fn stores_to_a_mapping_are_never_mixed_with_what_was_there() {
    let case = Case::new(&[]);
    fs::write(&case.raw, vec![0; SIZE]).expect("a source");
    assert_no_mix(&case, |version| {
        let mut mapping = Mapping::of(&case.raw, false);
        for start in (0..SIZE).step_by(BLOCK) {
            mapping.fill(start..start + BLOCK, version);
        }
    });
}

/// Overwrites a source many times within a tick of its file system's clock, and reads its view
/// each time.
#[track_caller]
pub(crate) fn assert_writes_within_a_tick_are_seen(folder: &Path) {
    let raw = folder.join("a.raw");
    fs::write(&raw, stamped(0)).expect("a source");
    let mount = mount(folder, &[]);
    let view = mount.join("a.vhd");
    for version in 1..20 {
        let file = writable(&raw);
        file.write_all_at(&stamped(version), 0).expect("write");
        drop(file);
        let mut seen = None;
        eventually("a quiet source", || {
            seen = version_of(&view, BLOCK).ok();
            seen.is_some()
        });
        // The kernel may find the old name for a while, but not through it what was never there.
        if seen != Some(version) {
            eventually("the new version", || {
                version_of(&view, BLOCK).is_ok_and(|seen| seen == version)
            });
        }
    }
}

#[test]
fn two_writes_within_a_second_are_two_versions_on_ext4_with_a_clock_of_seconds() {
    let ext4 = FileSystem::with("ext4", 64 << 20, &["-I", "128"]);
    assert_writes_within_a_tick_are_seen(&ext4.folder("source"));
}

#[test]
fn what_is_written_to_a_device_is_seen_by_the_next_open() {
    let lab = Lab::new();
    let (folder, backing) = (lab.folder("source"), lab.path().join("backing"));
    random_image(&backing, 1, MIB);
    let device = Loop::writable(&backing);
    symlink(device.path(), folder.join("a.raw")).expect("a link");
    // Another node of it, so that not even the times of the first one move.
    let other = lab.path().join("node");
    let number = rustix::fs::stat(device.path()).expect("a device").st_rdev;
    let (kind, mode) = (rustix::fs::FileType::BlockDevice, Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(CWD, &other, kind, mode, number).expect("a node");
    let mount = mount(&folder, &["--allow-devices"]);
    for version in 0..5 {
        let node = writable(&other);
        for start in (0..MIB).step_by(BLOCK) {
            node.write_all_at(&stamped(version), start).expect("write");
        }
        node.sync_all().expect("sync");
        drop(node);
        let seen = version_of(&mount.join("a.vhd"), MIB as usize);
        assert_eq!(seen.expect("a view"), version);
    }
}

#[test]
fn a_device_that_is_in_use_is_not_opened() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let ext4 = FileSystem::new("ext4", 16 << 20);
    let node = stdout_of(
        Command::new(tool("findmnt"))
            .args(["-no", "SOURCE"])
            .arg(ext4.path()),
    );
    symlink(node.trim(), folder.join("a.raw")).expect("a link");
    let refused = mount(&folder, &["--allow-devices"]);
    assert_eq!(errno_of(File::open(refused.join("a.vhd"))), Errno::BUSY);
    refused.unmount();
    let allowed = mount(&folder, &["--allow-devices", "--writers=allow"]);
    File::open(allowed.join("a.vhd")).expect("what is there");
    allowed.unmount();
}

#[test]
fn a_file_behind_a_loop_device_is_open_for_writing_unless_the_device_is_read_only() {
    let case = Case::new(&[]);
    let device = Loop::writable(&case.raw);
    assert_eq!(errno_of(File::open(case.view())), Errno::BUSY);
    drop(device);
    eventually("the end of the device", || File::open(case.view()).is_ok());
    let device = Loop::read_only(&case.raw);
    oracle_verify(&case.raw, &case.view());
    drop(device);
}

#[test]
fn writers_snapshot_gives_the_disk_of_one_moment() {
    let xfs = FileSystem::new("xfs", 400 << 20);
    let folder = xfs.folder("source");
    let raw = folder.join("a.raw");
    fs::write(&raw, vec![1; SIZE]).expect("a source");
    let mount = mount(&folder, &["--writers=snapshot"]);
    let writer = writable(&raw);
    for version in 2..5 {
        for start in (0..SIZE).step_by(BLOCK) {
            let place = start as u64;
            writer
                .write_all_at(&stamped(version), place)
                .expect("write");
        }
        let view = mount.join("a.vhd");
        eventually("the new version", || {
            version_of(&view, SIZE).is_ok_and(|seen| seen == version)
        });
    }
    drop(writer);
    mount.unmount();
}

#[test]
fn writers_snapshot_says_where_the_file_system_cannot_clone() {
    let case = Case::new(&["--writers=snapshot"]);
    let _writer = writable(&case.raw);
    assert_eq!(errno_of(File::open(case.view())), Errno::BUSY);
    case.assert_log_says(&["open for writing", "cannot clone", "--writers allow"]);
}

#[test]
fn writers_allow_serves_what_is_there_and_notices_changes() {
    let case = Case::new(&["--writers=allow"]);
    let writer = writable(&case.raw);
    oracle_verify(&case.raw, &case.view());
    let view = File::open(case.view()).expect("what is there");
    writer.write_all_at(&stamped(7), 0).expect("write");
    // Nothing of it was cached.
    let read = view.read_at(&mut [0; 4096], 0);
    assert_eq!(errno_of(read), Errno::STALE);
    eventually("the new version", || {
        let mut byte = [0];
        let view = File::open(case.view());
        view.is_ok_and(|view| view.read_exact_at(&mut byte, 0).is_ok() && byte == [7])
    });
}

#[test]
fn a_confined_daemon_may_lease_what_others_own() {
    let case = Case::new(&["--sandbox=auto"]);
    User::ordinary().own(&case.raw);
    let writer = writable(&case.raw);
    eventually("the new owner", || File::open(case.view()).is_err());
    assert_eq!(errno_of(File::open(case.view())), Errno::BUSY);
    drop(writer);
    oracle_verify(&case.raw, &case.view());
}

#[test]
fn who_may_not_lease_says_so_once() {
    let user = User::ordinary();
    let lab = Lab::new();
    let folder = lab.folder("source");
    for name in ["a.raw", "b.raw"] {
        random_image(&folder.join(name), 1, MIB);
    }
    let mount = Options::default().user(user).foreground().mount(&folder);
    for name in ["a", "b"] {
        user.copy(&mount.join(format!("{name}.vhd")), &lab.path().join("copy"));
        let copy = fs::read(lab.path().join("copy")).expect("a copy");
        let raw = fs::read(folder.join(format!("{name}.raw"))).expect("a source");
        assert!(copy[..raw.len()] == raw[..]);
    }
    let log = mount.log();
    assert_eq!(lines_with(&log, "--writers allow").len(), 1, "{log}");
    mount.unmount();
}

#[test]
fn a_writer_without_patience_succeeds_when_it_tries_again() {
    let case = Case::new(&[]);
    let view = open_past_cache(&case.view());
    let impatient = || {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&case.raw)
    };
    assert_eq!(errno_of(impatient()), Errno::AGAIN);
    eventually("the view to give way", || impatient().is_ok());
    let read = view.read_at(&mut [0; 4096], 0);
    assert_eq!(errno_of(read), Errno::STALE);
    case.assert_log_says(&["O_NONBLOCK"]);
}

/// A program that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_keeps_no_writer_waiting() {
    let lab = Lab::new();
    let (source, mountpoint) = (lab.folder("source"), lab.folder("mnt"));
    for name in ["a", "b"] {
        random_image(&source.join(format!("{name}.raw")), 1, SIZE as u64);
    }
    let (mut log, end) = io::pipe().expect("a pipe");
    let mut command = vhdfs();
    command.args(["mount", "-f", "--snapshot=never"]);
    command
        .args([&source, &mountpoint])
        .stderr(end.try_clone().expect("its end"));
    let mut daemon = Killed(command.stdout(Stdio::null()).spawn().expect("vhdfs"));
    drop(command);
    let view = |name: &str| mountpoint.join(format!("{name}.vhd"));
    eventually("the mount", || view("a").exists());
    let views = ["a", "b"].map(|name| File::open(view(name)).expect("a view"));
    // Through an open of its own, because that it does not wait would be the daemon's, too.
    let path = format!("/proc/thread-self/fd/{}", end.as_raw_fd());
    let mut full = OpenOptions::new();
    let mut full = full
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("the pipe");
    while full.write(&[b'\n'; 512]).is_ok() {}
    // The thread that gives the first lease back reports it, and must be there for the second.
    for name in ["a", "b"] {
        let raw = source.join(format!("{name}.raw"));
        let (sender, is_open) = mpsc::channel();
        thread::spawn(move || sender.send(OpenOptions::new().write(true).open(raw)));
        // The kernel lets a writer go on after 45 s, whatever the holder of the lease does.
        let opened = is_open.recv_timeout(Duration::from_secs(20));
        drop(opened.expect("the writer goes on").expect("a source"));
    }
    drop((views, full, end));
    let reading = thread::spawn(move || io::copy(&mut log, &mut io::sink()));
    run_ok(vhdfs().arg("umount").arg(&mountpoint));
    assert!(daemon.0.wait().expect("vhdfs").success());
    reading.join().expect("no panic").expect("the log");
}

#[test]
fn a_version_that_was_given_up_has_another_inode_number() {
    use std::os::unix::fs::MetadataExt as _;
    let case = Case::new(&[]);
    let before = case.view().metadata().expect("a view");
    let view = open_past_cache(&case.view());
    // Opened for writing, and nothing written.
    drop(writable(&case.raw));
    let read = view.read_at(&mut [0; 4096], 0);
    assert_eq!(errno_of(read), Errno::STALE);
    drop(view);
    oracle_verify(&case.raw, &case.view());
    eventually("another number", || {
        let after = case.view().metadata().expect("a view");
        after.ino() != before.ino()
    });
}

#[test]
fn a_file_system_swapped_for_its_twin_is_another_version() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let sub = folder.join("sub");
    fs::create_dir(&sub).expect("a folder");
    let twin = |name: &str, byte: u8| {
        let content = lab.folder(name);
        fs::write(content.join("a.raw"), vec![byte; BLOCK]).expect("an image");
        let image = lab.path().join(format!("{name}.squashfs"));
        run_ok(
            Command::new(tool("mksquashfs"))
                .arg(&content)
                .arg(&image)
                .args(["-quiet", "-no-progress", "-noD", "-noF", "-no-fragments"])
                .args([
                    "-all-time",
                    "1000000000",
                    "-mkfs-time",
                    "1000000000",
                    "-all-root",
                ]),
        );
        image
    };
    let twins = [twin("one", 1), twin("two", 2)];
    let mount = mount(&folder, &[]);
    let view = mount.join("sub/a.vhd");
    let attach = |device: &Loop| {
        let mut command = Command::new(tool("mount"));
        run_ok(command.args(["-o", "ro"]).arg(device.path()).arg(&sub));
    };
    // The view that was read may be closed a moment later.
    let detach = || {
        eventually("the end of the file system", || {
            let unmounted = run(Command::new(tool("umount")).arg(&sub));
            unmounted.status.success()
        });
    };
    eventually("the same device for both", || {
        let device = Loop::read_only(&twins[0]);
        attach(&device);
        eventually("the first file system", || {
            version_of(&view, BLOCK).is_ok_and(|version| version == 1)
        });
        detach();
        let path = device.path().to_path_buf();
        drop(device);
        let mut again = Command::new(tool("losetup"));
        // Another test may have taken the device meanwhile.
        if !run(again.arg("-r").arg(&path).arg(&twins[1]))
            .status
            .success()
        {
            return false;
        }
        let device = Loop::attached(path);
        attach(&device);
        eventually("the other file system", || {
            version_of(&view, BLOCK).is_ok_and(|version| version == 2)
        });
        detach();
        true
    });
    mount.unmount();
}

#[test]
fn cat_never_writes_to_its_own_source() {
    let lab = Lab::new();
    let raw = lab.path().join("a.raw");
    random_image(&raw, 1, MIB);
    let before = fs::read(&raw).expect("an image");
    let other = lab.path().join("b.raw");
    fs::hard_link(&raw, &other).expect("another name");
    for (image, append) in [(&raw, true), (&other, true), (&raw, false)] {
        let mut options = File::options();
        let out = options.write(true).append(append).open(&raw);
        let output = vhdfs()
            .arg("cat")
            .arg(image)
            .stdout(out.expect("an image"))
            .output()
            .expect("vhdfs runs");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("the image itself"), "{text}");
        assert!(fs::read(&raw).expect("an image") == before);
    }
}
