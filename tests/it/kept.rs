//! Clones that are kept after their last close: who comes back finds the same file, warm; a writer,
//! another reader's need and the end of the mount come first.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::harness::mount::wait_until;
use crate::harness::{
    FileSystem, MIB, Mount, Options, User, eventually, oracle_verify, random_image, stdout_of,
    vhdfs,
};

/// A source folder on a file system that clones, and its mount.
struct Case {
    mount: Mount,
    source: PathBuf,
    _file_system: FileSystem,
}

impl Case {
    fn new(kind: &str, images: usize, size: u64, arguments: &[&str]) -> Self {
        let file_system = FileSystem::new(kind, 600 * MIB);
        let source = file_system.folder("source");
        for number in 0..images {
            random_image(&source.join(name(number)), number as u64, size);
        }
        rustix::fs::syncfs(File::open(&source).expect("a folder")).expect("on disk");
        Self {
            mount: Options::default()
                .foreground()
                .args(["-v", "--snapshot=always"])
                .args(arguments)
                .mount(&source),
            source,
            _file_system: file_system,
        }
    }

    fn image(&self, number: usize) -> PathBuf {
        self.source.join(name(number))
    }

    fn view(&self, number: usize) -> PathBuf {
        self.mount
            .join(Path::new(&name(number)).with_extension("vhd"))
    }

    /// Opens a view and closes it; returns its first byte.
    fn visit(&self, number: usize) -> u8 {
        let mut byte = [0];
        let view = File::open(self.view(number)).expect("a view");
        view.read_exact_at(&mut byte, 0).expect("a byte");
        byte[0]
    }

    /// Inode numbers of the clones that the daemon has open, sorted.
    fn clones(&self) -> Vec<u64> {
        let [pid] = self.mount.pids()[..] else {
            panic!("one daemon")
        };
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let link = fs::read_link(&path).ok()?;
                let is_unnamed = link.to_string_lossy().contains("/#");
                // What is not there any more was closed meanwhile.
                is_unnamed.then(|| fs::metadata(path).ok()).flatten()
            })
            .map(|found| found.ino())
            .collect();
        found.sort_unstable();
        found
    }

    /// The number of kept clones by `vhdfs status`.
    fn kept(&self) -> u64 {
        let text = stdout_of(vhdfs().args(["status", "--json"]).arg(self.mount.path()));
        let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        status["kept_clones"].as_u64().expect("a number")
    }

    /// Whether clones of an image were given up before their time, so many times.
    fn was_given_up(&self, number: usize, times: usize) -> bool {
        let line = format!("{}: its clone is given up early", name(number));
        self.mount.log().matches(&line).count() == times
    }

    #[track_caller]
    fn wait_for_kept(&self, count: u64) {
        eventually("clones are kept", || self.kept() == count);
    }
}

fn name(number: usize) -> String {
    format!("disk-{number:02}.raw")
}

#[test]
fn a_view_that_is_opened_again_is_the_same_clone() {
    for kind in ["xfs", "btrfs"] {
        let case = Case::new(kind, 1, 3 * MIB + 700, &[]);
        oracle_verify(&case.image(0), &case.view(0));
        case.wait_for_kept(1);
        let first = case.clones();
        assert_eq!(first.len(), 1, "{kind}");
        for _ in 0..3 {
            oracle_verify(&case.image(0), &case.view(0));
            assert_eq!(case.clones(), first, "{kind}: the same file");
        }
        assert!(case.mount.log().contains("its clone was kept"), "{kind}");
        let text = stdout_of(vhdfs().arg("status").arg(case.mount.path()));
        assert!(text.contains("clones kept after"), "{text}");
        // Nothing of it is in the way of the end.
        case.mount.unmount();
    }
}

#[test]
fn ordinary_users_find_their_clones_again_too() {
    let file_system = FileSystem::new("xfs", 600 * MIB);
    let source = file_system.folder("source");
    let image = source.join(name(0));
    random_image(&image, 1, 3 * MIB);
    let user = User::ordinary();
    user.own(&source);
    user.own(&image);
    let mount = Options::default()
        .args(["-v", "--snapshot=always"])
        .user(user)
        .foreground()
        .mount(&source);
    let copy = crate::harness::Lab::new();
    user.own(copy.path());
    for number in ["1", "2"] {
        let target = copy.path().join(number);
        user.copy(&mount.join("disk-00.vhd"), &target);
        oracle_verify(&image, &target);
    }
    eventually("the clone is taken back", || {
        mount.log().contains("its clone was kept")
    });
}

#[test]
fn a_writer_ends_it_at_once_and_gets_his_file() {
    let case = Case::new("xfs", 1, 3 * MIB, &[]);
    let before = case.visit(0);
    case.wait_for_kept(1);
    // The lease on the source is given back: whoever wants to write is let in.
    let writer = || File::options().write(true).open(case.image(0));
    writer()
        .expect("a writer")
        .write_all_at(&[!before], 0)
        .expect("a write");
    eventually("the clone is given up", || case.was_given_up(0, 1));
    eventually("the clone is gone", || case.clones().is_empty());
    assert_eq!(case.kept(), 0);
    assert_eq!(case.visit(0), !before);
    case.wait_for_kept(1);

    // Who does not want to wait is told so, and gets it with the next try.
    let impatient = || {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        File::options()
            .write(true)
            .custom_flags(flags)
            .open(case.image(0))
    };
    if let Err(error) = impatient() {
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
    eventually("the writer gets the file", || impatient().is_ok());
    eventually("the clone is given up", || case.was_given_up(0, 2));
}

#[test]
fn what_is_written_while_a_clone_is_open_is_what_the_next_open_finds() {
    let case = Case::new("xfs", 1, 3 * MIB, &[]);
    let open = File::open(case.view(0)).expect("a view");
    let mut byte = [0];
    open.read_exact_at(&mut byte, 0).expect("a byte");
    let before = byte[0];
    let file = File::options()
        .write(true)
        .open(case.image(0))
        .expect("a writer");
    file.write_all_at(&[!before], 0).expect("a write");
    drop(file);
    assert_eq!(case.visit(0), !before);
    open.read_exact_at(&mut byte, 0).expect("a byte");
    assert_eq!(byte[0], before, "what is open stays what it was");
    drop(open);
    // That of the old version is not kept; that of the new one is.
    wait_until("one clone", || case.clones().len() == 1).expect("one clone");
    assert_eq!(case.visit(0), !before);
}

#[test]
fn sixteen_are_kept_and_the_oldest_gives_way() {
    let case = Case::new("xfs", 17, MIB, &[]);
    for number in 0..17 {
        case.visit(number);
    }
    eventually("all but one are kept", || {
        case.kept() == 16 && case.clones().len() == 16
    });
    let kept = case.clones();
    case.visit(16);
    assert_eq!(case.clones(), kept, "the latest is taken back");
    case.visit(0);
    eventually("the first is another", || {
        case.kept() == 16 && case.clones() != kept
    });
}

#[test]
fn what_is_deleted_or_needed_is_not_kept() {
    let case = Case::new("xfs", 2, 3 * MIB, &[]);
    case.visit(0);
    case.visit(1);
    case.wait_for_kept(2);
    // Its space is wanted back.
    fs::remove_file(case.image(0)).expect("removed");
    eventually("the clone is given up", || case.was_given_up(0, 1));
    // Less than a twentieth is free.
    let found = rustix::fs::statvfs(&case.source).expect("a file system");
    let filler = File::create(case.source.join("filler")).expect("a file");
    let length = (found.f_bavail - found.f_blocks / 25) * found.f_frsize;
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, length)
        .expect("room for it");
    eventually("the clone is given up", || case.was_given_up(1, 1));
    // It can be read as ever.
    oracle_verify(&case.image(1), &case.view(1));
    eventually("none is kept", || case.was_given_up(1, 2));
    eventually("none is there", || {
        case.clones().is_empty() && case.kept() == 0
    });
}
