//! Sources that fail: no fault yields a wrong byte, a short read, a zero that is not in the
//! source, or a dead mount.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::harness::images::{Aligned, open_past_cache};
use crate::harness::machine::drop_caches;
use crate::harness::mount::wait_until;
use crate::harness::{
    FileSystem, Lab, MIB, Mount, Nbd, Options, oracle_verify, random_bytes, random_image, run_ok,
    tool,
};
use rustix::process::{Pid, Signal, kill_process};

const BLOCK: usize = 4096;

/// How long a read of an image that does not fail may take. A bound on hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole view of `body`, without its footer, which has a test of its own.
fn padded(mut body: Vec<u8>) -> Vec<u8> {
    body.resize(body.len().next_multiple_of(MIB as usize), 0);
    body
}

/// Reads block by block. Each block is `want`'s or an error; answers the blocks that failed.
fn failing_blocks(view: &File, want: &[u8]) -> Vec<usize> {
    let mut failed = Vec::new();
    for (number, want) in want.chunks(BLOCK).enumerate() {
        let mut got = vec![0xaa; want.len()];
        match view.read_exact_at(&mut got, (number * BLOCK) as u64) {
            Ok(()) => assert!(got == want, "block {number} is wrong"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "block {number}");
                failed.push(number);
            }
        }
    }
    failed
}

fn footer_is_whole(view: &File, body: &[u8]) {
    let mut footer = [0; 512];
    view.read_exact_at(&mut footer, body.len() as u64)
        .expect("the footer");
    assert!(footer.starts_with(b"conectix"));
    let rest = view.read_at(&mut [0; 1], body.len() as u64 + 512);
    assert_eq!(rest.expect("the end"), 0);
}

fn without_snapshots(source: &Path) -> Mount {
    Mount::with(source, &["--snapshot", "never"])
}

#[test]
fn a_medium_error_spares_all_around_it() {
    let lab = Lab::new();
    let (source, content) = (lab.folder("source"), lab.path().join("content"));
    let size = 3 * MIB + 1000;
    random_image(&content, 1, size);
    let bad = (MIB, MIB + 256 * 1024);
    let script = format!(
        "if [ $4 -lt {} ] && [ $(($4 + $3)) -gt {} ]; then echo EIO medium >&2; exit 1; fi",
        bad.1, bad.0
    );
    let _source = Nbd::scripted(&source, "disk.raw", &content, &script);
    let mount = without_snapshots(&source);
    let view = File::open(mount.join("disk.vhd")).expect("a view");
    let body = padded(random_bytes(1, size as usize));
    let want: Vec<_> = (bad.0 as usize / BLOCK..bad.1 as usize / BLOCK).collect();
    for _ in 0..2 {
        assert_eq!(failing_blocks(&view, &body), want);
        footer_is_whole(&view, &body);
    }
    drop(view);
    mount.unmount();
}

#[test]
fn errors_come_and_go() {
    let lab = Lab::new();
    let (source, content) = (lab.folder("source"), lab.path().join("content"));
    let trigger = lab.path().join("trigger");
    random_image(&content, 2, 2 * MIB);
    let _source = Nbd::failing(&source, "disk.raw", &content, &trigger);
    let mount = Mount::with(&source, &["--snapshot", "never", "--direct-io"]);
    let view = File::open(mount.join("disk.vhd")).expect("a view");
    let body = padded(random_bytes(2, 2 * MIB as usize));
    for round in 0..3 {
        fs::write(&trigger, "").expect("a trigger");
        drop_caches();
        let failed = failing_blocks(&view, &body);
        assert!(!failed.is_empty(), "round {round}: nothing failed");
        footer_is_whole(&view, &body);
        fs::remove_file(&trigger).expect("no trigger");
        assert_eq!(failing_blocks(&view, &body), [0; 0], "round {round}");
    }
    drop(view);
    mount.unmount();
}

/// Two images, one of which hangs as soon as `hang` exists.
fn hanging_source(lab: &Lab) -> (PathBuf, Nbd) {
    let content = lab.path().join("content");
    random_image(&content, 3, 16 * MIB);
    let source = lab.folder("source");
    random_image(&source.join("well.raw"), 4, MIB);
    let script = format!(
        "while [ -e {} ]; do sleep 0.1; done",
        lab.path().join("hang").display()
    );
    let nbd = Nbd::scripted(&lab.folder("source/sub"), "ill.raw", &content, &script);
    (source, nbd)
}

/// Lets the image hang, and reads it with more readers than the mount has threads, and more bytes than requests may
/// hold.
fn hanging_readers(lab: &Lab, mount: &Mount) -> Vec<thread::JoinHandle<io::Result<()>>> {
    let view = Arc::new(open_past_cache(&mount.join("sub/ill.vhd")));
    fs::write(lab.path().join("hang"), "").expect("a trigger");
    let reader = |number: u64| {
        let view = view.clone();
        // What was read ahead when the format was told does not hang.
        let offset = (2 + number % 14) * MIB;
        move || view.read_exact_at(Aligned::new().get(MIB as usize), offset)
    };
    (0..40).map(|n| thread::spawn(reader(n))).collect()
}

/// Reads the image that does not hang, in another thread: the test ends all the same.
fn well_is_readable(source: &Path, mount: &Mount) {
    let (done, finished) = mpsc::channel();
    let (raw, view) = (source.join("well.raw"), mount.join("well.vhd"));
    thread::spawn(move || {
        oracle_verify(&raw, &view);
        done.send(()).expect("a test that waits");
    });
    let result = finished.recv_timeout(PATIENCE);
    result.expect("the other image is readable");
}

#[test]
fn a_source_that_hangs_leaves_the_others_alone() {
    let lab = Lab::new();
    let (source, nbd) = hanging_source(&lab);
    let mount = without_snapshots(&source);
    let readers = hanging_readers(&lab, &mount);
    well_is_readable(&source, &mount);
    fs::remove_file(lab.path().join("hang")).expect("no trigger");
    for reader in readers {
        reader.join().expect("no panic").expect("bytes, late");
    }
    mount.unmount();
    drop(nbd);
}

#[test]
fn a_source_that_hangs_does_not_keep_the_mount() {
    // With the second one the daemon has the device open twice.
    for options in [&[][..], &["--auto-unmount", "--allow-other"]] {
        let lab = Lab::new();
        let (source, nbd) = hanging_source(&lab);
        let mount = Mount::with(&source, &[&["--snapshot", "never"], options].concat());
        mount.allow_log("files are open");
        mount.expect_log("gone, with files still open");
        let readers = hanging_readers(&lab, &mount);
        well_is_readable(&source, &mount);
        let daemon = Pid::from_raw(mount.pids()[0] as i32).expect("a process");
        kill_process(daemon, Signal::TERM).expect("kill");
        mount.wait_gone();
        for reader in readers {
            let result = reader.join().expect("no panic");
            assert!(result.is_err(), "bytes from nowhere");
        }
        fs::remove_file(lab.path().join("hang")).expect("no trigger");
        drop(nbd);
    }
}

/// Makes the n-th read of each thread of a daemon fail, until the value is dropped.
struct FailingReads(Child);

impl FailingReads {
    fn of(mount: &Mount, nth: u32) -> Self {
        let pid = mount.pids()[0];
        let child = Command::new(tool("strace"))
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()])
            .args(["-e", "trace=pread64", "-e", "signal=none"])
            .args(["-e", &format!("inject=pread64:error=EIO:when={nth}")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace");
        let is_traced = |task: io::Result<fs::DirEntry>| {
            let status = task.expect("a thread").path().join("status");
            // A thread may end meanwhile.
            fs::read_to_string(status).is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        };
        wait_until("strace", || {
            let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
            tasks.all(is_traced)
        })
        .expect("strace");
        Self(child)
    }
}

impl Drop for FailingReads {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

#[test]
fn every_read_may_fail_once() {
    let lab = Lab::new();
    let source = lab.folder("source");
    random_image(&source.join("disk.raw"), 5, 2 * MIB + 5);
    let body = padded(random_bytes(5, 2 * MIB as usize + 5));
    let mut failures = 0;
    for nth in 1..=12 {
        let mount = without_snapshots(&source);
        let faults = FailingReads::of(&mount, nth);
        // Where the format could not be told, the next look is another read.
        let mut view = None;
        wait_until("the image", || {
            let opened = File::open(mount.join("disk.vhd"));
            failures += usize::from(opened.is_err());
            view = opened.ok();
            view.is_some()
        })
        .expect("the image");
        let view = view.expect("the image");
        let mut failed = failing_blocks(&view, &body);
        failures += failed.len();
        // One failed read of each thread: it passes.
        for _ in 0..20 {
            if failed.is_empty() {
                break;
            }
            failed = failing_blocks(&view, &body);
        }
        assert_eq!(failed, [0; 0], "read {nth} goes on failing");
        footer_is_whole(&view, &body);
        drop((view, faults));
        mount.unmount();
    }
    assert!(failures >= 5, "only {failures} faults reached a reader");
}

#[test]
fn a_checksum_error_of_the_file_system_is_an_error_of_the_view() {
    let volume = FileSystem::new("btrfs", 300 * MIB);
    let image = volume.path().join("disk.raw");
    random_image(&image, 6, 2 * MIB);
    let body = random_bytes(6, 2 * MIB as usize);
    run_ok(Command::new(tool("umount")).arg(volume.path()));
    // One flipped bit where the file system keeps block 300, found by its content.
    let device = File::options()
        .read(true)
        .write(true)
        .open(volume.device())
        .expect("the device");
    let bytes = fs::read(volume.device()).expect("the device");
    let wanted = &body[300 * BLOCK..301 * BLOCK];
    let place = bytes.chunks(BLOCK).position(|block| block == wanted);
    let place = (place.expect("the block") * BLOCK) as u64;
    device
        .write_all_at(&[wanted[0] ^ 1], place)
        .expect("a flipped bit");
    drop(device);
    run_ok(
        Command::new(tool("mount"))
            .args(["-o", "loop"])
            .args([volume.device().as_path(), volume.path()]),
    );
    for snapshot in ["never", "auto"] {
        let mount = Mount::with(volume.path(), &["--snapshot", snapshot]);
        let view = File::open(mount.join("disk.vhd")).expect("a view");
        assert_eq!(failing_blocks(&view, &body), [300], "--snapshot {snapshot}");
        footer_is_whole(&view, &body);
        drop(view);
        mount.unmount();
    }
}

#[test]
fn a_full_or_read_only_or_detached_file_system_is_no_reason_to_fail() {
    let volume = FileSystem::new("xfs", 300 * MIB);
    let source = volume.folder("images");
    let image = source.join("disk.raw");
    random_image(&image, 7, 2 * MIB + 9);
    rustix::fs::sync();
    let automatic = Mount::new(&source);
    let always = Mount::with(&source, &["--snapshot", "always"]);
    always.allow_log("No space left on device");
    always.expect_log("Read-only file system");

    let filler = File::create(volume.path().join("filler")).expect("a file");
    let chunk = vec![1; MIB as usize];
    let mut end = 0;
    while filler.write_all_at(&chunk, end).is_ok() {
        end += MIB;
    }
    let whole = |mount: &Mount| oracle_verify(&image, &mount.join("disk.vhd"));
    whole(&automatic);
    // A clone takes next to no space; where there is not even that, opening says so.
    if let Err(error) = File::open(always.join("disk.vhd")) {
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }
    drop(filler);
    fs::remove_file(volume.path().join("filler")).expect("space");

    let remount = |options: &str| {
        run_ok(
            Command::new(tool("mount"))
                .args(["-o", &format!("remount,{options}")])
                .arg(volume.path()),
        );
    };
    remount("ro");
    whole(&automatic);
    let error = File::open(always.join("disk.vhd")).expect_err("no snapshot can be made");
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    remount("rw");
    whole(&always);

    let body = padded(random_bytes(7, 2 * MIB as usize + 9));
    run_ok(Command::new(tool("umount")).arg("-l").arg(volume.path()));
    for mount in [automatic, always] {
        let view = File::open(mount.join("disk.vhd")).expect("a view");
        assert_eq!(failing_blocks(&view, &body), [0; 0]);
        drop(view);
        mount.unmount();
    }
    // The value unmounts it.
    run_ok(
        Command::new(tool("mount"))
            .args(["-o", "loop"])
            .args([volume.device().as_path(), volume.path()]),
    );
}

#[test]
fn a_source_cut_short_never_yields_zeros() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let image = source.join("disk.raw");
    random_image(&image, 8, 4 * MIB);
    let mount = Options::default()
        .args(["--snapshot", "never", "--direct-io"])
        .expect_log("disk.raw: changed while it was open")
        .mount(&source);
    let view = File::open(mount.join("disk.vhd")).expect("a view");
    File::options()
        .write(true)
        .open(&image)
        .and_then(|file| file.set_len(MIB))
        .expect("cut the source");
    let error = view
        .read_exact_at(&mut [0; BLOCK], 2 * MIB)
        .expect_err("the bytes are gone");
    assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    drop(view);
    mount.unmount();
}
