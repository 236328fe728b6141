//! The attributes of views and folders, and their holes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use crate::harness::process::set_mode;
use crate::harness::{
    Lab, MIB, Mount, eventually, random_image, set_mtime, snapshot_of, sparse_image, tree,
};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

#[test]
fn views_have_the_time_and_owner_of_their_source() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let sub = lab.folder("source/sub");
    let cases = [
        ("a.raw", 1_700_000_000, 123_456_789, 0, 0),
        ("sub/b.raw", 0, 1, 12345, 54321),
        ("c.raw", 4_102_444_800, 999_999_999, 1, 2),
    ];
    for (name, seconds, nanoseconds, uid, gid) in cases {
        let path = folder.join(name);
        random_image(&path, 1, MIB + 1);
        chown(&path, Some(uid), Some(gid)).expect("another owner");
        set_mtime(&path, seconds, nanoseconds);
    }
    chown(&sub, Some(77), Some(88)).expect("another owner");
    let before = snapshot_of(&folder);
    let mount = Mount::new(&folder);
    for (name, seconds, nanoseconds, uid, gid) in cases {
        let view = mount.join(name).with_extension("vhd");
        let meta = view.metadata().expect("a view");
        assert_eq!(meta.len(), 2 * MIB + 512, "{name}");
        assert_eq!(
            (meta.mtime() as u64, meta.mtime_nsec() as u32),
            (seconds, nanoseconds),
            "{name}"
        );
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{name}");
        assert!(meta.is_file());
    }
    let shown = mount.join("sub").metadata().expect("a folder");
    assert_eq!((shown.uid(), shown.gid()), (77, 88));
    let source = sub.metadata().expect("a folder");
    assert_eq!(shown.mtime_nsec(), source.mtime_nsec());
    mount.unmount();
    before.assert_unchanged(&folder);
}

#[test]
fn modes_are_those_of_the_source_without_write_bits() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let sub = lab.folder("source/sub");
    for (name, mode) in [
        ("a.raw", 0o666),
        ("b.raw", 0o640),
        ("c.raw", 0o755),
        ("d.raw", 0o400),
    ] {
        random_image(&folder.join(name), 1, 600);
        set_mode(&folder.join(name), mode);
    }
    set_mode(&sub, 0o1777);
    let mode_of = |path: &Path| path.metadata().expect("an entry").permissions().mode() & 0o7777;
    let mount = Mount::new(&folder);
    for (view, mode) in [
        ("a.vhd", 0o444),
        ("b.vhd", 0o440),
        ("c.vhd", 0o555),
        ("d.vhd", 0o400),
        ("sub", 0o1555),
    ] {
        assert_eq!(mode_of(&mount.join(view)), mode, "{view}");
    }
    mount.unmount();

    let options = [
        "--uid",
        "123",
        "--gid",
        "456",
        "--file-mode",
        "0600",
        "--dir-mode",
        "0710",
    ];
    let mount = Mount::with(&folder, &options);
    for (entry, mode) in [
        ("a.vhd", 0o600),
        ("d.vhd", 0o600),
        ("sub", 0o710),
        ("", 0o710),
    ] {
        let path = mount.join(entry);
        assert_eq!(mode_of(&path), mode, "{entry}");
        let meta = path.metadata().expect("an entry");
        assert_eq!((meta.uid(), meta.gid()), (123, 456), "{entry}");
    }
    mount.unmount();
    // The same as mount(8) has it.
    let mount = Mount::with(&folder, &["-o", "uid=1,gid=2,file_mode=0444,dir_mode=0555"]);
    let meta = mount.join("b.vhd").metadata().expect("a view");
    assert_eq!((meta.uid(), meta.gid()), (1, 2));
    assert_eq!(mode_of(&mount.join("b.vhd")), 0o444);
    assert_eq!(mode_of(&mount.join("sub")), 0o555);
    mount.unmount();
}

#[test]
fn allocated_blocks_are_those_of_the_source_and_the_footer() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("dense.raw"), 1, 3 * MIB);
    sparse_image(&folder.join("hole.raw"), 2, 64 * MIB, &[]);
    sparse_image(&folder.join("some.raw"), 3, 64 * MIB, &[(5 * MIB, 100)]);
    for name in ["dense", "hole", "some"] {
        // Delayed allocation would count the blocks later.
        File::open(folder.join(format!("{name}.raw")))
            .and_then(|file| file.sync_all())
            .expect("sync");
    }
    let mount = Mount::new(&folder);
    for name in ["dense", "hole", "some"] {
        let source = folder.join(format!("{name}.raw")).metadata().expect(name);
        let view = mount.join(format!("{name}.vhd")).metadata().expect(name);
        assert_eq!(view.blocks(), source.blocks() + 1, "{name}");
        assert!(view.blocks() > 0);
    }
    mount.unmount();
}

/// The runs of data of a file, as lseek(2) tells.
fn data_of(file: &File) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    let mut at = 0;
    loop {
        match seek(file, SeekFrom::Data(at)) {
            Ok(start) => {
                at = seek(file, SeekFrom::Hole(start)).expect("a hole behind data");
                runs.push((start, at));
            }
            Err(Errno::NXIO) => return runs,
            Err(error) => panic!("SEEK_DATA from {at}: {error}"),
        }
    }
}

#[test]
fn holes_are_those_of_the_source_and_the_padding() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let data = [
        (0, 4096),
        (MIB + 8192, 20_000),
        (7 * MIB, 1),
        (9 * MIB - 2, 3),
    ];
    type Data<'a> = &'a [(u64, usize)];
    let cases: [(&str, u64, Data); 5] = [
        ("mixed", 9 * MIB + 1, &data),
        ("aligned", 9 * MIB + MIB, &data),
        ("hole", 5 * MIB, &[]),
        ("hole-unaligned", 5 * MIB - 5, &[]),
        ("full", MIB, &[(0, MIB as usize)]),
    ];
    for (name, size, data) in cases {
        sparse_image(&folder.join(format!("{name}.raw")), 1, size, data);
    }
    for (never, options) in [(false, &[][..]), (true, &["--snapshot", "never"])] {
        let mount = Mount::with(&folder, options);
        for (name, size, _) in cases {
            let source = File::open(folder.join(format!("{name}.raw"))).expect("a source");
            let view = File::open(mount.join(format!("{name}.vhd"))).expect("a view");
            let footer = size.next_multiple_of(MIB);
            let mut expected = data_of(&source);
            match expected.last_mut() {
                // Data up to the footer is one run with it.
                Some(last) if last.1 == footer => last.1 += 512,
                _ => expected.push((footer, footer + 512)),
            }
            assert_eq!(data_of(&view), expected, "{name}, never: {never}");
            let end = SeekFrom::Hole(footer + 512);
            assert_eq!(seek(&view, end), Err(Errno::NXIO), "{name}");
            if size < footer {
                assert_eq!(seek(&view, SeekFrom::Hole(size)), Ok(size), "{name}");
                assert_eq!(seek(&view, SeekFrom::Data(size)), Ok(footer), "{name}");
            }
        }
        mount.unmount();
    }
}

#[test]
fn sparse_copies_of_a_view_are_whole_and_sparse() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("a.raw");
    sparse_image(&raw, 1, 900 * MIB + 7, &[(0, 100), (700 * MIB, 70_000)]);
    let mount = Mount::new(&folder);
    let copy = lab.path().join("copy.vhd");
    crate::harness::run_ok(
        std::process::Command::new(crate::harness::tool("cp"))
            .arg(mount.join("a.vhd"))
            .arg(&copy),
    );
    assert!(copy.metadata().expect("a copy").blocks() * 512 < MIB);
    let (view, copy) = (
        File::open(mount.join("a.vhd")).expect("a view"),
        File::open(&copy).expect("a copy"),
    );
    for offset in [0, 700 * MIB, 901 * MIB - 512] {
        let read = |file: &File| {
            let mut bytes = [1; 1024];
            file.read_exact_at(&mut bytes, offset)
                .expect("bytes of a file");
            bytes
        };
        assert_eq!(read(&view), read(&copy), "{offset}");
    }
    drop(view);
    mount.unmount();
}

#[test]
fn an_inode_number_stands_for_one_version() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let raw = folder.join("a.raw");
    random_image(&raw, 1, 5000);
    // Hard links have different names in their footers, so they are different disks.
    fs::hard_link(&raw, folder.join("b.raw")).expect("a hard link");
    let mount = Mount::new(&folder);
    let inode = |name: &str| mount.join(name).metadata().expect("a view").ino();
    let mut seen = vec![inode("a.vhd"), inode("b.vhd")];
    let first = seen[0];
    type Change<'a> = &'a dyn Fn();
    let other = folder.join("other");
    let changes: [(&str, Change); 4] = [
        ("written", &|| random_image(&raw, 2, 5000)),
        ("grown", &|| random_image(&raw, 2, 5001)),
        ("touched", &|| set_mtime(&raw, 1_000_000_000, 1)),
        ("replaced", &|| {
            random_image(&other, 2, 5001);
            set_mtime(&other, 1_000_000_000, 1);
            fs::rename(&other, &raw).expect("rename");
        }),
    ];
    for (what, change) in changes {
        let last = inode("a.vhd");
        change();
        eventually(what, || inode("a.vhd") != last);
        let now = inode("a.vhd");
        assert!(!seen.contains(&now), "{what}: {now} again");
        seen.push(now);
    }
    mount.unmount();
    assert_eq!(seen[0], first);
}

#[test]
fn the_same_version_has_the_same_inode_number_after_a_remount() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    random_image(&folder.join("sub/a.raw"), 1, 5000);
    let numbers: Vec<Vec<u64>> = (0..2)
        .map(|_| {
            let mount = Mount::new(&folder);
            let paths = tree(mount.path());
            let numbers = paths
                .iter()
                .map(|path| mount.join(path).metadata().expect("an entry").ino());
            let numbers = numbers.collect();
            mount.unmount();
            numbers
        })
        .collect();
    assert_eq!(numbers[0], numbers[1]);
}
