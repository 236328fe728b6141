//! The table of docs/HOSTS.md that says which writers are seen on which file system: each of its rows is
//! what happens here.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::Ntfs;
use crate::harness::images::{open_past_cache, writable};
use crate::harness::process::MemoryFs;
use crate::harness::writing::{BLOCK, Mapping};
use crate::harness::{
    FileSystem, Lab, Loop, Mount, Options, eventually, random_bytes, run_ok, tool,
};
use crate::writers_model::overlay;
use rustix::io::Errno;

const HEADING: &str = "| file system | nobody writes | open for writing | mapped, its descriptor closed | behind a \
     loop device | who comes while a view is open |";

/// A folder whose image `a.raw` somebody may write, and its mount.
struct Case {
    raw: PathBuf,
    mount: Mount,
}

impl Case {
    fn new(folder: &Path) -> Self {
        let raw = folder.join("a.raw");
        fs::write(&raw, random_bytes(1, 2 * BLOCK)).expect("an image");
        Self::of(folder, raw)
    }

    fn of(folder: &Path, raw: PathBuf) -> Self {
        let mount = Options::default()
            .args(["--snapshot=never", "--allow-devices"])
            .allow_log("for writing")
            .allow_log("ESTALE")
            .foreground()
            .mount(folder);
        Self { raw, mount }
    }

    fn view(&self) -> PathBuf {
        self.mount.join("a.vhd")
    }

    /// What an open gives now.
    fn opened(&self) -> &'static str {
        let opened = File::open(self.view());
        match opened.as_ref().map_err(Errno::from_io_error) {
            Ok(_) if self.mount.log().contains("as with --writers allow") => "times",
            Ok(_) => "served",
            Err(Some(Errno::BUSY)) => "refused",
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The same once nobody writes.
    fn quiet(&self) -> &'static str {
        eventually("nobody to write", || File::open(self.view()).is_ok());
        self.opened()
    }

    /// What becomes of a view that is open when somebody comes.
    fn interrupted(&self) -> &'static str {
        let view = open_past_cache(&self.view());
        let read = || read_block(&view).is_ok();
        assert!(read(), "nobody writes");
        let writer = writable(&self.raw);
        if !read() {
            return "gives way";
        }
        writer.write_all_at(b"others", 0).expect("a write");
        writer.sync_all().expect("sync");
        match read() {
            false => "times",
            true => "not seen",
        }
    }

    fn row(&self, name: &str) -> String {
        let quiet = self.quiet();
        let descriptor = writable(&self.raw);
        let open = self.opened();
        drop(descriptor);
        let mapping = Mapping::of(&self.raw, false);
        let mapped = self.opened();
        drop(mapping);
        self.quiet();
        let device = Loop::writable(&self.raw);
        let behind = self.opened();
        drop(device);
        self.quiet();
        let interrupted = self.interrupted();
        format!("| {name} | {quiet} | {open} | {mapped} | {behind} | {interrupted} |")
    }
}

fn read_block(view: &File) -> io::Result<()> {
    let mut memory = crate::harness::images::Aligned::new();
    view.read_exact_at(memory.get(4096), 0)
}

#[track_caller]
fn assert_documented(row: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/HOSTS.md");
    let page = fs::read_to_string(page).expect("docs/HOSTS.md");
    assert!(page.contains(HEADING), "{HEADING}");
    assert!(page.lines().any(|line| line == row), "{row}");
}

pub(crate) fn check(name: &str, kind: &str, options: &[&str]) {
    let file_system = FileSystem::with(kind, 400 << 20, options);
    let case = Case::new(&file_system.folder("source"));
    assert_documented(&case.row(name));
    case.mount.unmount();
}

#[test]
fn ext4() {
    check("ext4", "ext4", &[]);
    check("ext4 with a clock of seconds", "ext4", &["-I", "128"]);
}

#[test]
fn xfs_and_btrfs() {
    check("XFS", "xfs", &[]);
    check("btrfs", "btrfs", &[]);
}

#[test]
fn tmpfs() {
    let lab = Lab::new();
    let folder = lab.folder("memory");
    let _memory = MemoryFs::on(&folder);
    let source = folder.join("source");
    fs::create_dir(&source).expect("a folder");
    let case = Case::new(&source);
    assert_documented(&case.row("tmpfs"));
    case.mount.unmount();
}

#[test]
fn overlayfs() {
    let file_system = FileSystem::new("ext4", 400 << 20);
    let (source, _unmount) = overlay(&file_system);
    let case = Case::new(&source);
    assert_documented(&case.row("overlayfs"));
    case.mount.unmount();
}

#[test]
fn what_programs_serve() {
    let ntfs = Ntfs::new();
    let case = Case::new(&ntfs.folder);
    assert_documented(&case.row("FUSE (NTFS by ntfs-3g)"));
    case.mount.unmount();
}

#[test]
fn read_only_file_systems() {
    let lab = Lab::new();
    let (folder, content, image) = (
        lab.folder("source"),
        lab.folder("content"),
        lab.path().join("image"),
    );
    fs::write(content.join("a.raw"), random_bytes(1, 2 * BLOCK)).expect("an image");
    let mut make = Command::new(tool("mksquashfs"));
    run_ok(
        make.arg(&content)
            .arg(&image)
            .args(["-quiet", "-no-progress"]),
    );
    let mut mount = Command::new(tool("mount"));
    run_ok(mount.args(["-o", "loop,ro"]).arg(&image).arg(&folder));
    let case = Case::of(&folder, folder.join("a.raw"));
    let quiet = case.quiet();
    case.mount.unmount();
    run_ok(Command::new(tool("umount")).arg("-l").arg(&folder));
    assert_documented(&format!(
        "| squashfs, EROFS, ISO 9660 | {quiet} | – | – | – | – |"
    ));
}

#[test]
fn block_devices() {
    let lab = Lab::new();
    let (folder, backing) = (lab.folder("source"), lab.path().join("backing"));
    fs::write(&backing, random_bytes(1, 2 * BLOCK)).expect("an image");
    let device = Loop::writable(&backing);
    let raw = folder.join("a.raw");
    symlink(device.path(), &raw).expect("a link");
    let case = Case::of(&folder, raw.clone());
    let quiet = case.quiet();
    let writer = writable(&raw);
    let open = match case.opened() {
        "served" => "not seen",
        other => other,
    };
    let mapping = Mapping::of(&raw, false);
    let mapped = match case.opened() {
        "served" => "not seen",
        other => other,
    };
    drop((writer, mapping));
    let above = Loop::writable(device.path());
    let behind = match case.opened() {
        "served" => "not seen",
        other => other,
    };
    drop(above);
    let interrupted = case.interrupted();
    assert_documented(&format!(
        "| block devices | {quiet} | {open} | {mapped} | {behind} | {interrupted} |"
    ));
    case.mount.unmount();
}
