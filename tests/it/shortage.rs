//! Faults of the daemon itself and of the machine: killed, or short of descriptors, threads or
//! memory. Each is an error of some requests, and no more.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use crate::harness::mount::wait_until;
use crate::harness::process::{helper, set_mode};
use crate::harness::{
    FileSystem, Lab, MIB, Mount, Options, User, oracle_verify, random_bytes, random_image, run_ok,
    tool,
};
use crate::scale::number_of;
use rustix::process::{Pid, Signal, kill_process};

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(process as i32).expect("a process");
    kill_process(pid, signal).expect("kill");
}

#[test]
fn auto_unmount_does_not_hang() {
    let lab = Lab::new();
    let source = lab.folder("source");
    random_image(&source.join("disk.raw"), 10, MIB);
    let options = || Options::default().args(["--auto-unmount", "--allow-other"]);

    let ended = options().mount(&source);
    signal(ended.pids()[0], Signal::TERM);
    ended.wait_gone();

    let unmounted = options().mount(&source);
    unmounted.unmount();
}

#[test]
fn too_few_descriptors_are_an_error_of_one_open() {
    let lab = Lab::new();
    let source = lab.folder("source");
    for number in 0..64 {
        random_image(&source.join(format!("{number}.raw")), number, 4096);
    }
    let mount = Mount::with(&source, &["--snapshot", "never"]);
    mount.expect_log("too many open files: requests fail with EMFILE");
    limit(&mount, "--nofile=32:32");
    let open = |number: u64| File::open(mount.join(format!("{number}.vhd")));
    let opened: Vec<_> = (0..64).map(open).collect();
    let (well, ill): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert!(well.len() > 4 && ill.len() > 4, "{} opened", well.len());
    for error in ill.iter().filter_map(|result| result.as_ref().err()) {
        let code = error.raw_os_error();
        assert!(matches!(code, Some(libc::EMFILE | libc::ENFILE)), "{error}");
    }
    for (number, view) in well.iter().enumerate() {
        let view = view.as_ref().expect("a view");
        let mut body = [0; 4096];
        view.read_exact_at(&mut body, 0).expect("an open view");
        assert!(body[..] == random_bytes(number as u64, 4096));
    }
    drop(well);
    for number in 0..8 {
        wait_until("a free descriptor", || open(number).is_ok()).expect("recovery");
    }
    mount.unmount();
}

#[test]
fn too_few_threads_keep_nobody_waiting() {
    let lab = Lab::new();
    let source = lab.folder("source");
    for number in 0..16 {
        random_image(&source.join(format!("{number}.raw")), number, 4096);
    }
    set_mode(&source, 0o755);
    let user = User::ordinary();
    let mount = Options::default().user(user).mount(&source);
    mount.allow_log("because no thread can be started");
    // Root's threads are not counted, so this is for who has a limit to hit.
    let pid = mount.pids()[0].to_string();
    let mut prlimit = user.command(tool("prlimit"));
    run_ok(prlimit.args(["--pid", &pid, "--nproc=1:1"]));
    for number in 0..16 {
        let copy = lab.path().join("copy");
        user.copy(&mount.join(format!("{number}.vhd")), &copy);
        oracle_verify(&source.join(format!("{number}.raw")), &copy);
    }
    mount.unmount();
}

pub(crate) fn limit(mount: &Mount, limit: &str) {
    let pid = mount.pids()[0].to_string();
    run_ok(Command::new(tool("prlimit")).args(["--pid", &pid, limit]));
}

/// Lets a daemon have `more` bytes than it has now, of data that is written to, as the kernel counts it.
pub(crate) fn leave_memory(mount: &Mount, more: u64) {
    let used = number_of(mount.pids()[0], "status", "VmData") << 10;
    limit(mount, &format!("--data={}:", used + more));
}

/// Without its broker a daemon can neither unmount nor make snapshots. What it serves stays right.
#[test]
fn a_broker_that_was_killed_is_missed_only_where_it_is_needed() {
    let volume = FileSystem::new("xfs", 300 * MIB);
    let source = volume.folder("source");
    let images = ["a", "b"].map(|name| source.join(name).with_extension("raw"));
    for (number, image) in images.iter().enumerate() {
        random_image(image, number as u64, MIB + 100);
    }
    rustix::fs::sync();
    let mountpoint = volume.folder("mnt");
    let options = Options::default().foreground().at(&mountpoint);
    let mount = options.mount(&source);
    let view = mount.join("a.vhd");
    oracle_verify(&images[0], &view);
    let open = File::open(&view).expect("a view");
    let daemon = mount.pids()[0];
    mount.expect_log("the broker that unmounts is gone");
    mount.expect_log("gone, with files still open");
    signal(helper(daemon), Signal::KILL);
    oracle_verify(&images[1], &mount.join("b.vhd"));
    assert!(mount.log().contains("read directly"), "{}", mount.log());
    oracle_verify(&images[0], &view);
    drop(open);
    signal(daemon, Signal::TERM);
    wait_until("the end of the daemon", || mount.pids().is_empty()).expect("the end");
    let next = Options::default().at(&mountpoint);
    let next = next.expect_log("removed the stale mount").mount(&source);
    oracle_verify(&images[0], &next.join("a.vhd"));
    next.unmount();
    mount.wait_gone();
}

/// Number of threads that wait for requests of the kernel.
fn threads_that_wait(daemon: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{daemon}/task")).expect("a process");
    let waits = |task: &fs::DirEntry| {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let reading = format!("{} ", libc::SYS_read);
        read("comm").starts_with("fuser-") && read("syscall").starts_with(&reading)
    };
    tasks.flatten().filter(waits).count()
}

/// Views that are open are read on, and the daemon outlives what it cannot do.
#[test]
fn too_little_memory_is_an_error_of_some_requests() {
    const COUNT: usize = 8_000;
    let lab = Lab::new();
    let source = lab.folder("source");
    for number in 0..COUNT {
        let image = File::create(source.join(format!("{number}.raw"))).expect("an image");
        image.set_len(4096).expect("an image");
    }
    let image = source.join("disk.raw");
    random_image(&image, 12, 3 * MIB);
    let want = random_bytes(12, 3 * MIB as usize);
    // In the background: the count of images in the foreground leaves memory to be used again.
    let options = Options::default();
    let options = options.args(["--snapshot", "never", "--direct-io", "--threads", "3"]);
    let mount = options.mount(&source);
    let daemon = mount.pids()[0];
    wait_until("all threads to have their buffers", || {
        threads_that_wait(daemon) == 3
    })
    .expect("threads");
    mount.expect_log("out of memory: requests fail with ENOMEM");
    mount.allow_log("because no thread can be started");
    let view = File::open(mount.join("disk.vhd")).expect("a view");
    let read = || {
        let mut got = vec![0; want.len()];
        view.read_exact_at(&mut got, 0).map(|()| got)
    };
    // Little, so that no thread has a buffer for more.
    view.read_exact_at(&mut [0; 512], 0).expect("an open view");
    leave_memory(&mount, 256 << 10);

    let attributes = |number: usize| fs::metadata(mount.join(format!("{number}.vhd")));
    let failed: Vec<_> = (0..COUNT)
        .filter_map(|number| attributes(number).err())
        .collect();
    assert!(
        failed.len() > COUNT / 100,
        "{} requests failed",
        failed.len()
    );
    for error in &failed {
        // EIO where another thread would have had to be started.
        let code = error.raw_os_error();
        assert!(matches!(code, Some(libc::ENOMEM | libc::EIO)), "{error}");
    }
    assert!(fs::read_dir(mount.path()).is_err(), "a list needs memory");
    let is_right = || match read() {
        Ok(got) => got == want,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
            false
        }
    };
    wait_until("an open view", is_right).expect("it is read on");
    let log = mount.log();
    assert_eq!(log.matches("out of memory").count(), 1, "{log}");

    limit(&mount, "--data=unlimited:");
    for number in 0..COUNT {
        attributes(number).expect("recovery");
    }
    assert_eq!(
        fs::read_dir(mount.path()).expect("recovery").count(),
        COUNT + 1
    );
    drop(view);
    oracle_verify(&image, &mount.join("disk.vhd"));
    mount.unmount();
}
