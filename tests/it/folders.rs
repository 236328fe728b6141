//! Odd folders and folders that change under the mount: nobody hangs, nothing is lost or listed
//! twice, and nothing from outside ever shows.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::process::set_mode;
use crate::harness::{
    Lab, MIB, MemoryFs, Mount, Options, User, assert_tree, errno_of, eventually, lines_with, list,
    listed_reasons, listed_views, oracle_verify, random_image, run_ok, tool,
};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

#[test]
fn entries_that_cannot_be_read_do_not_keep_the_others_away() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    for name in ["a.raw", "secret.raw", "open/b.raw", "closed/c.raw"] {
        random_image(&folder.join(name), 1, 700);
        set_mode(&folder.join(name), 0o644);
    }
    set_mode(&folder.join("secret.raw"), 0o600);
    set_mode(&folder.join("closed"), 0o700);
    let user = User::ordinary();
    let mount = Options::default().user(user).foreground().mount(&folder);
    let shown = |path: &str| {
        let output = crate::harness::run(user.command(tool("ls")).arg(mount.join(path)));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    assert_eq!(shown(""), (true, "a.vhd\nclosed\nopen\n".into()));
    assert_eq!(shown("open"), (true, "b.vhd\n".into()));
    assert_eq!(shown("closed"), (false, String::new()));
    let output = crate::harness::run(user.command(tool("cat")).arg(mount.join("secret.vhd")));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("No such file"), "{error}");
    let copy = lab.path().join("copy.vhd");
    user.copy(&mount.join("a.vhd"), &copy);
    oracle_verify(&folder.join("a.raw"), &copy);
    mount.unmount();
}

/// Makes folders in one another until the path is longer than the kernel takes; answers their
/// names and the deepest.
fn deep_folder(top: &Path) -> (Vec<String>, OwnedFd) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, top, flags, Mode::empty()).expect("a folder");
    let names: Vec<_> = (0..30).map(|n| format!("{n:0200}")).collect();
    for name in &names {
        mkdirat(&folder, name.as_str(), Mode::from_raw_mode(0o755)).expect("mkdir");
        folder = openat(&folder, name.as_str(), flags, Mode::empty()).expect("a folder");
    }
    (names, folder)
}

#[test]
fn trees_deeper_than_any_path_are_mirrored() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = lab.path().join("deep.raw");
    random_image(&raw, 1, MIB + 5);
    let (names, deepest) = deep_folder(&folder);
    rustix::fs::renameat(CWD, &raw, &deepest, "deep.raw").expect("rename");
    rustix::fs::symlinkat("deep.raw", &deepest, "link.raw").expect("a link");
    let mount = Mount::new(&folder);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, mount.path(), flags, Mode::empty()).expect("the mount");
    for name in &names {
        at = openat(&at, name.as_str(), flags, Mode::empty()).expect("a folder in it");
    }
    let mut entries: Vec<_> = rustix::fs::Dir::read_from(&at)
        .expect("its entries")
        .map(|entry| entry.expect("an entry").file_name().to_owned())
        .collect();
    entries.sort();
    // A link can only be followed by its path, so down here there are none.
    assert_eq!(entries, [c".", c"..", c"deep.vhd"]);
    let read = |folder: &OwnedFd, name: &str| {
        let mut bytes = Vec::new();
        let file = openat(folder.as_fd(), name, flags, Mode::empty()).expect(name);
        File::from(file).read_to_end(&mut bytes).expect(name);
        bytes
    };
    let body = read(&deepest, "deep.raw");
    let view = read(&at, "deep.vhd");
    assert_eq!(view.len() as u64, 2 * MIB + 512);
    assert!(view[..body.len()] == body[..]);
    drop(at);
    mount.unmount();
    let list = list(&folder, &[]);
    assert_eq!(listed_views(&list).len(), 1, "{:?}", listed_reasons(&list));
    assert_eq!(listed_reasons(&list).len(), 1);
}

#[test]
fn empty_folders_are_empty() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let mount = Mount::new(&folder);
    assert_tree(mount.path(), [""; 0]);
    fs::create_dir_all(folder.join("a/b")).expect("folders");
    thread::sleep(Duration::from_secs(1));
    assert_tree(mount.path(), ["a", "a/b"]);
    mount.unmount();
}

#[test]
fn a_source_folder_that_is_renamed_is_still_the_source() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("sub/a.raw"), 1, MIB);
    let mount = Mount::new(&folder);
    let moved = lab.path().join("moved");
    fs::rename(&folder, &moved).expect("rename");
    // Another folder of the old name is not the one that was mounted.
    random_image(&folder.join("sub/wrong.raw"), 2, MIB);
    thread::sleep(Duration::from_secs(1));
    assert_tree(mount.path(), ["sub", "sub/a.vhd"]);
    oracle_verify(&moved.join("sub/a.raw"), &mount.join("sub/a.vhd"));
    mount.unmount();
}

#[test]
fn a_source_folder_that_is_removed_gives_clear_errors() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("a.raw"), 1, MIB);
    let mount = Mount::new(&folder);
    let view = File::open(mount.join("a.vhd")).expect("a view");
    fs::remove_dir_all(&folder).expect("remove");
    thread::sleep(Duration::from_secs(1));
    let errno = errno_of(mount.join("a.vhd").metadata());
    assert!(matches!(errno, Errno::NOENT | Errno::STALE), "{errno}");
    let listed = mount.path().read_dir().map(|entries| entries.count());
    assert!(matches!(listed, Ok(0)) || matches!(errno_of(listed), Errno::NOENT | Errno::STALE),);
    drop(view);
    mount.unmount();
}

#[test]
fn a_folder_that_is_replaced_is_another_folder() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("sub/a.raw"), 1, MIB);
    let mount = Mount::new(&folder);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = openat(CWD, mount.join("sub"), flags, Mode::empty()).expect("a folder");
    fs::rename(folder.join("sub"), folder.join("other")).expect("rename");
    random_image(&folder.join("sub/b.raw"), 2, MIB);
    thread::sleep(Duration::from_secs(1));
    // Never the new folder's entry through the old folder.
    let found = openat(&old, "b.vhd", OFlags::RDONLY, Mode::empty());
    assert!(
        matches!(found, Err(Errno::STALE | Errno::NOENT)),
        "{found:?}"
    );
    assert_tree(mount.path(), ["sub", "sub/b.vhd", "other", "other/a.vhd"]);
    drop(old);
    mount.unmount();
}

#[test]
fn a_source_file_system_that_goes_away_makes_nobody_hang() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let memory = MemoryFs::on(&folder);
    random_image(&folder.join("sub/a.raw"), 1, MIB);
    let copy = lab.path().join("a.raw");
    run_ok(
        Command::new(tool("cp"))
            .arg("-p")
            .args([&folder.join("sub/a.raw"), &copy]),
    );
    let mount = Mount::with(&folder, &["--snapshot", "never"]);
    let view = File::open(mount.join("sub/a.vhd")).expect("a view");
    drop(memory);
    random_image(&folder.join("below.raw"), 2, MIB);
    thread::sleep(Duration::from_secs(1));
    // Detached, it lives as long as it is used; what now lies in its place is not it.
    oracle_verify(&copy, &mount.join("sub/a.vhd"));
    assert_tree(mount.path(), ["sub", "sub/a.vhd"]);
    drop(view);
    mount.unmount();
}

#[test]
fn a_swap_never_shows_what_is_outside() {
    const ROUNDS: usize = 3000;
    const SECRET: &[u8] = b"this is not for the mount";
    let lab = Lab::new();
    let folder = lab.folder("source");
    let outside = lab.folder("outside");
    fs::write(outside.join("x.raw"), SECRET.repeat(100)).expect("a secret");
    random_image(&folder.join("good.raw"), 1, 5000);
    random_image(&folder.join("dir/x.raw"), 2, 5000);
    // Each of these takes the place of `x.raw` or `y` in turn.
    let spares = lab.folder("spares");
    random_image(&spares.join("0"), 3, 5000);
    symlink(outside.join("x.raw"), spares.join("1")).expect("a link");
    fs::create_dir(spares.join("2")).expect("a folder");
    symlink("good.raw", spares.join("3")).expect("a link");
    random_image(&spares.join("4/x.raw"), 4, 5000);
    symlink(&outside, spares.join("5")).expect("a link");
    symlink("dir", spares.join("6")).expect("a link");
    let mount = Options::default()
        .args(["--snapshot", "never"])
        .foreground()
        // What is between two of its states.
        .allow_log("x.raw: ")
        .mount(&folder);
    let done = AtomicBool::new(false);
    let read = thread::scope(|scope| {
        for (name, turns) in [("x.raw", 0..4), ("y", 4..7)] {
            let (spares, folder, done) = (&spares, &folder, &done);
            scope.spawn(move || {
                let place = folder.join(name);
                for turn in turns.cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let spare = spares.join(turn.to_string());
                    fs::rename(&spare, &place).expect("swap in");
                    thread::yield_now();
                    fs::rename(&place, &spare).expect("swap out");
                }
            });
        }
        let readers: Vec<_> = ["x.vhd", "y/x.vhd"]
            .into_iter()
            .map(|name| {
                let view = mount.join(name);
                scope.spawn(move || {
                    let mut read = 0;
                    for _ in 0..ROUNDS {
                        let _ = view
                            .parent()
                            .expect("a folder")
                            .read_dir()
                            .map(Iterator::count);
                        if let Ok(bytes) = fs::read(&view) {
                            assert!(!bytes.starts_with(SECRET), "bytes from outside");
                            read += 1;
                        }
                    }
                    read
                })
            })
            .collect();
        let read: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        done.store(true, Ordering::Relaxed);
        read
    });
    for count in read {
        // The other readings met nothing there, or lost a race: that is no failure.
        assert!(count.expect("a reader") > 0, "nothing was ever read");
    }
    oracle_verify(&folder.join("good.raw"), &mount.join("good.vhd"));
    mount.unmount();
}

#[test]
fn listings_lose_and_double_nothing_while_files_come_and_go() {
    const STABLE: usize = 2000;
    let lab = Lab::new();
    let folder = lab.folder("source");
    for number in 0..STABLE {
        fs::write(folder.join(format!("stable{number}.raw")), "x").expect("an image");
    }
    let stable: BTreeSet<OsString> = (0..STABLE)
        .map(|number| format!("stable{number}.vhd").into())
        .collect();
    let mount = Mount::new(&folder);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // Before, between and behind the others in any order.
                let name = format!("{}{}.raw", ["a", "stable1", "z"][round % 3], round % 200);
                let path = folder.join(name);
                if round % 400 < 200 && !path.exists() {
                    fs::write(path, "y").expect("come");
                } else if !stable.contains(path.with_extension("vhd").file_name().expect("")) {
                    let _ = fs::remove_file(path);
                }
            }
        });
        let result = std::panic::catch_unwind(|| {
            for _ in 0..15 {
                let mut seen = BTreeSet::new();
                for entry in mount.path().read_dir().expect("a listing") {
                    let name = entry.expect("an entry").file_name();
                    assert!(seen.insert(name.clone()), "{name:?} twice");
                }
                let lost: Vec<_> = stable.difference(&seen).collect();
                assert!(lost.is_empty(), "lost: {lost:?}");
            }
        });
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    mount.unmount();
}

#[test]
fn running_out_of_descriptors_is_told_and_ends() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    for number in 0..60 {
        random_image(&folder.join(format!("{number}.raw")), number, 5000);
    }
    let mount = Options::default()
        .args(["--snapshot", "never"])
        .foreground()
        .expect_log("too many open files: requests fail with EMFILE")
        .mount(&folder);
    let pid = mount.pids()[0];
    let limit = |count: usize| {
        run_ok(
            Command::new(tool("prlimit"))
                .arg(format!("--pid={pid}"))
                .arg(format!("--nofile={count}:1024")),
        );
    };
    let in_use = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .count();
    limit(in_use + 20);
    let views: Vec<PathBuf> = (0..60)
        .map(|number| mount.join(format!("{number}.vhd")))
        .collect();
    let mut open = Vec::new();
    let mut refused = 0;
    for view in &views {
        match File::open(view) {
            Ok(file) => open.push((view, file)),
            Err(error) => {
                assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE));
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && !open.is_empty());
    let listed = mount.path().read_dir().and_then(|entries| {
        let names: Result<Vec<_>, _> = entries.collect();
        names.map(|names| names.len())
    });
    // All of them, or the error: never some.
    assert!(
        matches!(listed, Ok(60)) || errno_of(listed) == Errno::MFILE,
        "a listing with losses"
    );
    for (view, mut file) in open {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("an open view");
        assert_eq!(bytes.len() as u64, MIB + 512, "{}", view.display());
    }
    eventually("recovery", || File::open(&views[59]).is_ok());
    for (number, view) in views.iter().enumerate() {
        oracle_verify(&folder.join(format!("{number}.raw")), view);
    }
    let log = mount.log();
    mount.unmount();
    assert_eq!(lines_with(&log, "too many open files").len(), 1, "{log}");
}
