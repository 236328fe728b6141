//! Both engines on real file systems: clones isolate, the kernel serves them where it may, and
//! whatever cannot be cloned is read directly or refused, as the user chose.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::harness::{
    FileSystem, Lab, MIB, Mount, Options, User, oracle_verify, random_image, run_ok, tool,
};
use rustix::fs::SeekFrom;
use rustix::process::Signal;

const SIZE: u64 = 600 * MIB;
const CLONING: [&str; 2] = ["xfs", "btrfs"];

/// A source folder with one unaligned image on a file system of its own.
struct Fixture {
    file_system: FileSystem,
    image: PathBuf,
}

impl Fixture {
    fn new(kind: &str) -> Self {
        let file_system = FileSystem::new(kind, SIZE);
        let image = file_system.folder("source").join("disk.raw");
        random_image(&image, 7, 9 * MIB + 1234);
        let fixture = Self { file_system, image };
        fixture.sync();
        fixture
    }

    fn source(&self) -> &Path {
        self.image.parent().unwrap()
    }

    fn mount(&self, arguments: &[&str]) -> Mount {
        Options::default()
            .foreground()
            .args(arguments)
            .mount(self.source())
    }

    fn sync(&self) {
        run_ok(
            std::process::Command::new(tool("sync"))
                .arg("-f")
                .arg(&self.image),
        );
    }

    /// Inodes in use, unnamed ones too. btrfs does not count them, but their space.
    fn usage(&self) -> (u64, u64) {
        self.sync();
        let found = rustix::fs::statvfs(self.file_system.path()).unwrap();
        (
            found.f_files - found.f_ffree,
            found.f_blocks - found.f_bfree,
        )
    }
}

fn read_all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Bytes that the daemon has read and copied so far, its own files included.
fn bytes_read_by(mount: &Mount) -> u64 {
    let [pid] = mount.pids()[..] else {
        panic!("one daemon")
    };
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))
        .unwrap();
    line.parse().unwrap()
}

/// Number of files without a name that the daemon has open.
fn clones_of(mount: &Mount) -> usize {
    let [pid] = mount.pids()[..] else {
        panic!("one daemon")
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|link| link.to_string_lossy().contains("/#"))
        .count()
}

#[test]
fn views_are_right_with_every_engine_on_every_file_system() {
    for kind in ["xfs", "btrfs", "ext4"] {
        let fixture = Fixture::new(kind);
        for arguments in [
            &[][..],
            &["--snapshot=never"],
            &["--direct-io"],
            &["--snapshot=never", "--direct-io"],
        ] {
            let mount = fixture.mount(arguments);
            oracle_verify(&fixture.image, &mount.join("disk.vhd"));
        }
    }
}

#[test]
fn a_snapshot_is_untouched_by_what_happens_to_the_source() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("overwritten", |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&[0x55; 3 << 20], 1 << 20).unwrap();
        }),
        ("truncated", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(5)
                .unwrap()
        }),
        ("grown", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(99 << 20)
                .unwrap()
        }),
        ("deleted", |path| fs::remove_file(path).unwrap()),
    ];
    for kind in CLONING {
        for (name, change) in changes {
            let fixture = Fixture::new(kind);
            let mount = fixture.mount(&["--snapshot=always"]);
            oracle_verify(&fixture.image, &mount.join("disk.vhd"));
            let mut view = File::open(mount.join("disk.vhd")).unwrap();
            let before = read_all(&view);
            // In the midst of a read, with half of it in no cache.
            rustix::fs::fadvise(&view, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let mut half = vec![0; before.len() / 2];
            view.read_exact(&mut half).unwrap();
            change(&fixture.image);
            assert!(read_all(&view) == before, "{kind}: {name}");
        }
    }
}

#[test]
fn the_kernel_serves_clones_without_the_daemon() {
    for kind in CLONING {
        let fixture = Fixture::new(kind);
        let mount = fixture.mount(&["--snapshot=always"]);
        let view = File::open(mount.join("disk.vhd")).unwrap();
        let before = bytes_read_by(&mount);
        let size = read_all(&view).len() as u64;
        assert!(
            bytes_read_by(&mount) - before < size / 10,
            "{kind}: passed through"
        );
        drop(view);
        drop(mount);

        let mount = fixture.mount(&["--snapshot=always", "--direct-io"]);
        let view = File::open(mount.join("disk.vhd")).unwrap();
        let before = bytes_read_by(&mount);
        read_all(&view);
        assert!(
            bytes_read_by(&mount) - before >= 9 * MIB,
            "{kind}: read by the daemon"
        );
    }
}

#[test]
fn all_opens_of_a_version_share_one_clone_that_leaves_nothing_behind() {
    for kind in CLONING {
        let fixture = Fixture::new(kind);
        let idle = fixture.usage();
        let mount = fixture.mount(&["--snapshot=always"]);
        let open = || File::open(mount.join("disk.vhd")).unwrap();
        let views: Vec<File> = (0..5).map(|_| open()).collect();
        assert_eq!(clones_of(&mount), 1, "{kind}");
        drop(views);
        for _ in 0..50 {
            read_all(&open());
        }
        assert!(clones_of(&mount) <= 1, "{kind}: one is kept for a while");
        drop(mount);
        assert_eq!(fixture.usage().0, idle.0, "{kind}: inodes in use");
        let names: Vec<_> = fs::read_dir(fixture.source()).unwrap().collect();
        assert_eq!(names.len(), 1, "{kind}: nothing but the image");
    }
}

#[test]
fn a_killed_daemon_leaves_no_clone() {
    let fixture = Fixture::new("xfs");
    let idle = fixture.usage();
    let mount = Mount::with(fixture.source(), &["--snapshot=always"]);
    let view = File::open(mount.join("disk.vhd")).unwrap();
    assert_eq!(fixture.usage().0, idle.0 + 1, "the clone");
    mount.signal(Signal::KILL);
    drop(view);
    // The kernel holds what is passed through for as long as the dead mount is there.
    run_ok(
        std::process::Command::new(tool("umount"))
            .arg("-l")
            .arg(mount.path()),
    );
    mount.wait_gone();
    crate::harness::mount::wait_until("the clone is gone", || fixture.usage().0 == idle.0).unwrap();
}

#[test]
fn always_refuses_what_cannot_be_cloned_and_says_why() {
    let fixture = Fixture::new("ext4");
    let mount = fixture.mount(&["--snapshot=always"]);
    mount.expect_log("disk.raw: cannot be opened: no snapshot: its file system cannot clone it");
    let error = File::open(mount.join("disk.vhd")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
}

#[test]
fn auto_reads_directly_what_cannot_be_cloned_and_says_so_once() {
    let fixture = Fixture::new("ext4");
    random_image(&fixture.source().join("other.raw"), 8, MIB);
    let mount = fixture.mount(&[]);
    oracle_verify(&fixture.image, &mount.join("disk.vhd"));
    oracle_verify(
        &fixture.source().join("other.raw"),
        &mount.join("other.vhd"),
    );
    assert_eq!(
        mount.log().matches("read directly").count(),
        1,
        "{}",
        mount.log()
    );
}

#[test]
fn auto_leaves_alone_what_is_being_written_or_in_many_extents() {
    let fixture = Fixture::new("xfs");
    let scattered = fixture.source().join("scattered.raw");
    let file = File::create(&scattered).unwrap();
    for extent in 0..300 {
        file.write_all_at(&[1; 4096], extent * 16_384).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    let writer = File::options().write(true).open(&fixture.image).unwrap();
    let mount = fixture.mount(&["-v", "--writers=allow"]);
    let _views = ["disk.vhd", "scattered.vhd"].map(|name| File::open(mount.join(name)).unwrap());
    let log = mount.log();
    assert!(
        log.contains("disk.raw: read directly: it is open for writing"),
        "{log}"
    );
    assert!(
        log.contains("scattered.raw: read directly: it is kept in"),
        "{log}"
    );
    drop(writer);
}

#[test]
fn snapshots_can_be_made_elsewhere_on_the_same_file_system() {
    let fixture = Fixture::new("xfs");
    let user = User::ordinary();
    let snapshots = fixture.file_system.folder("snapshots");
    user.own(&snapshots);
    let open = |arguments: &[&str]| {
        let options = Options::default().args(arguments).user(user).foreground();
        let mount = options.mount(fixture.source());
        let copy = Lab::new();
        user.own(copy.path());
        user.copy(&mount.join("disk.vhd"), &copy.path().join("disk.vhd"));
        oracle_verify(&fixture.image, &copy.path().join("disk.vhd"));
        mount.log()
    };
    // The user may not make files beside the image.
    assert!(open(&["-v"]).contains("disk.raw: read directly"));
    let folder = format!("--snapshot-dir={}", snapshots.display());
    assert!(!open(&["--snapshot=always", &folder]).contains("read directly"));

    let refuse = |folder: &Path| {
        let lab = Lab::new();
        let output = crate::harness::run(
            crate::harness::vhdfs()
                .arg("mount")
                .arg(format!("--snapshot-dir={}", folder.display()))
                .arg(fixture.source())
                .arg(lab.folder("mnt")),
        );
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let other = Lab::new();
    assert!(refuse(other.path()).contains("on another file system"));
    assert!(refuse(Path::new("/nowhere")).contains("No such file"));
}

#[test]
fn ordinary_users_get_snapshots_that_the_daemon_reads() {
    for kind in CLONING {
        let fixture = Fixture::new(kind);
        let user = User::ordinary();
        user.own(fixture.source());
        user.own(&fixture.image);
        let options = Options::default()
            .args(["--snapshot=always"])
            .user(user)
            .foreground();
        let mount = options.mount(fixture.source());
        let copy = Lab::new();
        user.own(copy.path());
        user.copy(&mount.join("disk.vhd"), &copy.path().join("disk.vhd"));
        oracle_verify(&fixture.image, &copy.path().join("disk.vhd"));
        assert!(
            mount.log().contains("snapshots are read by the daemon"),
            "{}",
            mount.log()
        );
    }
}

#[test]
fn holes_of_a_clone_are_those_of_its_source() {
    for kind in CLONING {
        let fixture = Fixture::new(kind);
        let sparse = fixture.source().join("sparse.raw");
        let file = File::create(&sparse).unwrap();
        // It ends with a hole inside of a block.
        file.set_len((32 << 40) - 5000)
            .unwrap_or_else(|_| file.set_len((1 << 40) - 5000).unwrap());
        for place in [MIB, 700 * MIB, 900 * 1024 * MIB] {
            file.write_all_at(&[9; 64 << 10], place).unwrap();
        }
        file.sync_all().unwrap();
        let size = file.metadata().unwrap().len();
        drop(file);
        for policy in ["--snapshot=always", "--snapshot=never"] {
            let mount = fixture.mount(&[policy]);
            let view = File::open(mount.join("sparse.vhd")).unwrap();
            let mut runs = Vec::new();
            let mut at = 0;
            while let Ok(data) = rustix::fs::seek(&view, SeekFrom::Data(at)) {
                let hole = rustix::fs::seek(&view, SeekFrom::Hole(data)).unwrap();
                runs.push((data, hole - data));
                at = hole;
            }
            let want = [MIB, 700 * MIB, 900 * 1024 * MIB].map(|place| (place, 64 << 10));
            assert_eq!(runs[..3], want, "{kind} {policy}");
            let footer = (size.next_multiple_of(MIB), 512);
            assert_eq!(runs[3..], [footer], "{kind} {policy}");
            assert!(view.metadata().unwrap().blocks() >= 3 * 128);
        }
        fs::set_permissions(&sparse, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

#[test]
fn relocated_tables_are_served_by_every_engine_and_by_cat() {
    let fixture = Fixture::new("xfs");
    let image = fixture.source().join("table.raw");
    File::create(&image)
        .unwrap()
        .set_len(40 * MIB + 512)
        .unwrap();
    let partitions = ["-n", "1:2048:+10M", "-n", "2:0:0"];
    run_ok(
        std::process::Command::new(tool("sgdisk"))
            .args(partitions)
            .arg(&image),
    );
    fixture.sync();
    let mut views = Vec::new();
    for policy in ["--snapshot=always", "--snapshot=never"] {
        let mount = fixture.mount(&["--gpt=relocate", policy]);
        views.push(fs::read(mount.join("table.vhd")).unwrap());
        // What has no GPT stays what it is.
        oracle_verify(&fixture.image, &mount.join("disk.vhd"));
    }
    let cat = run_ok(
        crate::harness::vhdfs()
            .args(["cat", "--gpt=relocate"])
            .arg(&image),
    );
    assert!(views.iter().all(|view| *view == cat.stdout));

    let kept = run_ok(crate::harness::vhdfs().arg("cat").arg(&image)).stdout;
    let lab = Lab::new();
    let verdict = |bytes: &[u8]| {
        let disk = lab.path().join("disk");
        fs::write(&disk, &bytes[..bytes.len() - 512]).unwrap();
        crate::harness::stdout_of(
            std::process::Command::new(tool("sgdisk"))
                .arg("-v")
                .arg(&disk),
        )
    };
    assert!(verdict(&kept).contains("doesn't reside\nat the end of the disk"));
    assert!(verdict(&views[0]).contains("No problems found"));
}

#[test]
fn a_table_that_cannot_be_relocated_is_refused_with_the_reason() {
    let fixture = Fixture::new("ext4");
    let image = fixture.source().join("table.raw");
    File::create(&image)
        .unwrap()
        .set_len(40 * MIB + 512)
        .unwrap();
    run_ok(
        std::process::Command::new(tool("sgdisk"))
            .args(["-n", "1:0:0"])
            .arg(&image),
    );
    // The primary header.
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0xff; 8], 512 + 24).unwrap();
    drop(file);
    let mount = fixture.mount(&["--gpt=relocate"]);
    mount.expect_log("table.raw: cannot be opened: its GPT cannot be relocated: ");
    let error = File::open(mount.join("table.vhd")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
}
