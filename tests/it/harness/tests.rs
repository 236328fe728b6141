//! The judges judged: what the other tests rely on does notice what it should.

use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::process::set_mode;
use crate::harness::snapshot::access_times_of;
use crate::harness::{
    Lab, MIB, Mount, Options, User, folder_with_a_warning, oracle_verify, random_image, run_ok,
    set_mtime, snapshot_of, sparse_image, tool,
};

fn panics(action: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(action)).is_err()
}

/// A write that puts the modification time back, as something that hides would.
fn write_quietly(path: &Path) {
    let mtime = path.metadata().and_then(|m| m.modified()).expect("a time");
    random_image(path, 99, 5000);
    let times = FileTimes::new().set_modified(mtime);
    let file = File::options().write(true).open(path).expect("a file");
    file.set_times(times).expect("set a time");
}

#[test]
fn a_snapshot_notices_every_change() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("content", |folder| write_quietly(&folder.join("a.raw"))),
        ("mtime", |folder| set_mtime(&folder.join("a.raw"), 1, 1)),
        ("mode", |folder| set_mode(&folder.join("a.raw"), 0o600)),
        ("attribute", |folder| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(folder.join("a.raw"), "user.x", b"y", flags).expect("setxattr");
        }),
        ("new file", |folder| {
            random_image(&folder.join("sub/new"), 1, 1)
        }),
        ("lost file", |folder| {
            fs::remove_file(folder.join("sub/b.raw")).expect("remove")
        }),
        ("link", |folder| {
            fs::remove_file(folder.join("link")).expect("remove");
            symlink("sub", folder.join("link")).expect("a link");
        }),
    ];
    for (name, change) in changes {
        let lab = Lab::new();
        let folder = lab.folder("source");
        random_image(&folder.join("a.raw"), 1, 5000);
        sparse_image(&folder.join("sub/b.raw"), 2, MIB, &[(70_000, 10)]);
        symlink("a.raw", folder.join("link")).expect("a link");
        let before = snapshot_of(&folder);
        let times = access_times_of(&folder);
        before.assert_unchanged(&folder);
        assert_eq!(
            times,
            access_times_of(&folder),
            "a snapshot leaves no trace"
        );
        change(&folder);
        assert!(panics(|| before.assert_unchanged(&folder)), "{name}");
    }
}

#[test]
fn a_missing_tool_fails_the_test() {
    let error = catch_unwind(|| tool("no-such-tool")).expect_err("a panic");
    let text = error.downcast_ref::<String>().expect("a text");
    assert_eq!(text, "no-such-tool is missing: run scripts/test");
}

#[test]
fn the_oracle_notices_one_wrong_byte() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let raw = source.join("a.raw");
    random_image(&raw, 1, MIB + 1);
    let mount = Mount::new(&source);
    let mut bytes = fs::read(mount.join("a.vhd")).expect("a view");
    mount.unmount();
    let copy = lab.path().join("copy.vhd");
    fs::write(&copy, &bytes).expect("a copy");
    oracle_verify(&raw, &copy);
    for offset in [0, MIB as usize, 2 * MIB as usize - 1, bytes.len() - 1] {
        bytes[offset] ^= 1;
        fs::write(&copy, &bytes).expect("a copy");
        assert!(panics(|| oracle_verify(&raw, &copy)), "byte {offset}");
        bytes[offset] ^= 1;
    }
}

#[test]
fn mounts_run_in_the_foreground_and_as_an_ordinary_user() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let raw = source.join("a.raw");
    random_image(&raw, 1, 3 * MIB + 5);
    set_mode(&raw, 0o644);

    let mount = Options::default().foreground().mount(&source);
    assert_eq!(mount.pids().len(), 1);
    oracle_verify(&raw, &mount.join("a.vhd"));
    mount.unmount();

    let user = User::ordinary();
    let mount = Options::default().user(user).mount(&source);
    let status = format!("/proc/{}/status", mount.pids()[0]);
    let status = fs::read_to_string(status).expect("a process");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
    let uid = uid.and_then(|ids| ids.split('\t').next());
    assert_eq!(uid, Some(user.uid.to_string().as_str()), "{status}");
    let copy = lab.path().join("copy.vhd");
    user.copy(&mount.join("a.vhd"), &copy);
    oracle_verify(&raw, &copy);
    mount.unmount();
}
/// Why a mount fails its test, if it does, after its folder has been listed and `more` done to it.
fn failure_of(options: Options, source: &Path, more: impl FnOnce(&Mount)) -> Option<String> {
    let mount = options.mount(source);
    mount.path().read_dir().expect("a listing").for_each(drop);
    more(&mount);
    let result = catch_unwind(AssertUnwindSafe(|| mount.unmount()));
    let panic = result.err()?;
    Some(panic.downcast_ref::<String>().expect("a text").clone())
}

const WARNING: &str = "other.img: does not appear";

#[test]
fn a_warning_that_nobody_asked_for_fails_the_test() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let chosen = lab.path().join("chosen");
    let in_a_file = ["--log-file", chosen.to_str().expect("a path")];
    let as_option = format!("log_file={}", chosen.display());
    let ways = [
        Options::default(),
        Options::default().foreground(),
        Options::default()
            .user(User::ordinary())
            .args(["--allow-root"]),
        Options::default().args(in_a_file),
        Options::default().args(["-o", &as_option]),
    ];
    for options in ways {
        let failure = failure_of(options.clone(), &source, |_| ());
        let failure = failure.unwrap_or_else(|| panic!("{options:?}: no failure"));
        assert!(failure.contains(WARNING), "{options:?}: {failure}");
        let _ = fs::remove_file(&chosen);
        assert_eq!(
            failure_of(options.clone().expect_log(WARNING), &source, |_| ()),
            None
        );
        let _ = fs::remove_file(&chosen);
        assert_eq!(
            failure_of(options.allow_log(WARNING), &source, |_| ()),
            None
        );
        let _ = fs::remove_file(&chosen);
    }
}

#[test]
fn a_warning_that_does_not_come_fails_the_test() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let expecting = || Options::default().expect_log(WARNING);
    let failure = failure_of(expecting(), &source, |_| ()).expect("a failure");
    assert!(failure.contains("the log lacks"), "{failure}");
    let late = |mount: &Mount| mount.expect_log("is unmounted");
    assert_eq!(failure_of(Options::default(), &source, late), None);
}

#[test]
fn a_panic_or_a_bug_in_the_log_fails_the_test() {
    let lab = Lab::new();
    let source = lab.folder("source");
    for line in [
        "thread 'fuser-0' panicked at src/serve/fuse/mod.rs:1:1:",
        "[2026-01-31T12:00:00Z ERROR] read: a bug made this request fail with EIO",
        "[2026-01-31T12:00:00Z INFO ] this is a bug",
        "memory allocation of 512 bytes failed",
    ] {
        for options in [Options::default(), Options::default().foreground()] {
            let write = |mount: &Mount| {
                let log = File::options().append(true).open(mount.log_file());
                writeln!(log.expect("a log"), "{line}").expect("write to the log");
            };
            let failure = failure_of(options.clone(), &source, write);
            assert!(failure.is_some_and(|text| text.contains(line)), "{line}");
            let options = options.allow_log(line);
            assert_eq!(failure_of(options, &source, write), None, "{line}");
        }
    }
}

/// Also where the test ends the mount its own way, or only lets go of it.
#[test]
fn a_log_is_judged_however_the_mount_ends() {
    let lab = Lab::new();
    let source = folder_with_a_warning(&lab);
    let ends: [fn(Mount); 3] = [
        drop,
        |mount| {
            mount.signal(Signal::TERM);
            mount.wait_gone();
        },
        |mount| {
            run_ok(Command::new(tool("umount")).arg("-l").arg(mount.path()));
            mount.wait_gone();
        },
    ];
    for end in ends {
        let mount = Mount::new(&source);
        mount.path().read_dir().expect("a listing").for_each(drop);
        assert!(panics(|| end(mount)));
    }
}
