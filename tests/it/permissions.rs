//! Who may read a view: exactly those who may read its source, or fewer.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process::set_mode;
use crate::harness::{Lab, Mount, Options, User, random_image, run, run_ok, tool};

/// Whether a user can read a file, or list a folder.
fn may_read(user: User, path: &Path) -> bool {
    let program = if path.is_dir() { "ls" } else { "cat" };
    run(user.command(tool(program)).arg(path)).status.success()
}

fn image(path: &Path, mode: u32) {
    random_image(path, 1, 700);
    set_mode(path, mode);
}

#[test]
fn without_allow_other_the_mount_is_its_owners_alone() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    image(&folder.join("a.raw"), 0o644);
    let user = User::ordinary();
    let mount = Mount::new(&folder);
    assert!(!may_read(user, &mount.join("a.vhd")));
    assert!(mount.join("a.vhd").exists());
    mount.unmount();

    let mount = Options::default().user(user).mount(&folder);
    assert!(may_read(user, &mount.join("a.vhd")));
    let output = run(Command::new(tool("cat")).arg(mount.join("a.vhd")));
    assert!(!output.status.success(), "not even root");
    mount.unmount();

    let options = Options::default().user(user).args(["--allow-root"]);
    let mount = options.mount(&folder);
    assert!(may_read(user, &mount.join("a.vhd")));
    run_ok(Command::new(tool("cat")).arg(mount.join("a.vhd")));
    mount.unmount();
}

#[test]
fn with_allow_other_modes_and_owners_decide() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let user = User::ordinary();
    type Owner = (u32, u32);
    let (root, owned, group): (Owner, Owner, Owner) = ((0, 0), (user.uid, user.gid), (0, user.gid));
    let cases = [
        ("public", 0o644, root),
        ("private", 0o600, root),
        ("group", 0o640, root),
        ("owned", 0o400, owned),
        ("grouped", 0o040, group),
        ("not-for-its-owner", 0o044, owned),
        ("not-for-its-group", 0o604, group),
        ("write-only", 0o222, owned),
    ];
    for (name, mode, (uid, gid)) in cases {
        let path = folder.join(format!("{name}.raw"));
        image(&path, mode);
        chown(&path, Some(uid), Some(gid)).expect("another owner");
    }
    for (name, mode) in [("closed", 0o700), ("listed", 0o744), ("passed", 0o711)] {
        image(&folder.join(name).join("a.raw"), 0o644);
        set_mode(&folder.join(name), mode);
    }
    for options in [&["--allow-other"][..], &["-o", "allow_other"]] {
        let mount = Mount::with(&folder, options);
        let same = |raw: PathBuf, view: PathBuf| {
            let source = may_read(user, &raw);
            assert_eq!(may_read(user, &view), source, "{}", view.display());
            source
        };
        let readable: Vec<_> = cases
            .iter()
            .map(|(name, ..)| name)
            .filter(|name| {
                let raw = folder.join(format!("{name}.raw"));
                same(raw, mount.join(format!("{name}.vhd")))
            })
            .collect();
        assert_eq!(readable, [&"public", &"owned", &"grouped"]);
        for name in ["closed", "listed", "passed"] {
            same(folder.join(name), mount.join(name));
            let inner = Path::new(name).join("a.raw");
            same(
                folder.join(&inner),
                mount.join(&inner).with_extension("vhd"),
            );
        }
        mount.unmount();
    }
}

#[test]
fn overrides_decide_instead() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let user = User::ordinary();
    image(&folder.join("sub/a.raw"), 0o600);
    set_mode(&folder.join("sub"), 0o700);
    let reads = |options: &[&str]| {
        let mount = Mount::with(&folder, &[&["--allow-other"], options].concat());
        let reads = may_read(user, &mount.join("sub/a.vhd"));
        mount.unmount();
        reads
    };
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    assert!(!reads(&[]));
    assert!(reads(&["--uid", &uid]));
    assert!(!reads(&["--gid", &gid]));
    assert!(reads(&[
        "--gid",
        &gid,
        "--file-mode",
        "040",
        "--dir-mode",
        "050"
    ]));
    assert!(reads(&["--file-mode", "444", "--dir-mode", "555"]));
    assert!(!reads(&["--file-mode", "444"]));
    assert!(!reads(&["--uid", &uid, "--file-mode", "0"]));
}

#[test]
fn an_ordinary_users_shared_mount_keeps_modes() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let user = User::ordinary();
    image(&folder.join("a.raw"), 0o644);
    image(&folder.join("b.raw"), 0o600);
    user.own(&folder.join("b.raw"));
    let options = Options::default().user(user).args(["--allow-other"]);
    let mount = options.mount(&folder);
    assert!(may_read(user, &mount.join("a.vhd")));
    assert!(may_read(user, &mount.join("b.vhd")));
    let other = User {
        uid: 54_321,
        gid: 54_321,
    };
    assert!(may_read(other, &mount.join("a.vhd")));
    assert!(!may_read(other, &mount.join("b.vhd")));
    mount.unmount();
}

#[test]
fn a_link_opens_no_closed_folder() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let user = User::ordinary();
    // Owner and mode of a folder, those of the image in it, and whether the user may read that.
    let (uid, gid) = (user.uid, user.gid);
    let cases = [
        ("closed", (0, 0), 0o700, (0, 0), 0o644, false),
        ("grouped", (0, gid), 0o750, (0, gid), 0o640, true),
        ("owned", (uid, 0), 0o700, (uid, 0), 0o600, true),
        ("owned-above", (0, 0), 0o700, (uid, 0), 0o600, false),
        ("group-above", (0, 0), 0o750, (0, gid), 0o640, false),
        ("passed", (0, 0), 0o711, (0, 0), 0o644, true),
    ];
    for (name, above, above_mode, owner, mode, readable) in cases {
        let raw = folder.join(name).join("inner/a.raw");
        image(&raw, mode);
        chown(&raw, Some(owner.0), Some(owner.1)).expect("another owner");
        chown(
            raw.parent().expect("a folder"),
            Some(owner.0),
            Some(owner.1),
        )
        .expect("another owner");
        chown(folder.join(name), Some(above.0), Some(above.1)).expect("another owner");
        set_mode(&folder.join(name), above_mode);
        let link = |target: &str, link: String| {
            let target = Path::new(name).join(target);
            std::os::unix::fs::symlink(target, folder.join(link)).expect("a link");
        };
        link("inner/a.raw", format!("{name}-link.raw"));
        link("inner", format!("{name}-inner"));
        assert_eq!(may_read(user, &raw), readable, "{name}");
    }
    let mount = Mount::with(&folder, &["--allow-other"]);
    for (name, .., readable) in cases {
        for view in [
            format!("{name}/inner/a.vhd"),
            format!("{name}-link.vhd"),
            format!("{name}-inner/a.vhd"),
        ] {
            assert_eq!(may_read(user, &mount.join(&view)), readable, "{view}");
        }
    }
    mount.unmount();
}

fn setfacl(path: &Path, entries: &str) {
    run_ok(
        Command::new(tool("setfacl"))
            .args(["-m", entries])
            .arg(path),
    );
}

/// The shown group bits of a source with an ACL are its mask, which is more than the group has;
/// and an ACL may deny what the other bits grant.
#[test]
fn an_acl_never_makes_a_view_readable_to_more() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    let user = User::ordinary();
    let (uid, gid) = (user.uid, user.gid);
    // Entries, and whether the user may read the source.
    let cases = [
        ("mask", 0o600, (0, gid), "u:12345:r".to_string(), false),
        ("user-denied", 0o644, (0, 0), format!("u:{uid}:-"), false),
        (
            "user-denied-in-group",
            0o640,
            (0, gid),
            format!("u:{uid}:-"),
            false,
        ),
        ("group-denied", 0o644, (0, 0), format!("g:{gid}:-"), false),
        (
            "masked",
            0o640,
            (0, gid),
            "u:12345:r,m:-".to_string(),
            false,
        ),
        ("harmless", 0o644, (0, 0), "u:12345:r".to_string(), true),
        ("group", 0o640, (0, gid), "u:12345:r".to_string(), true),
        ("owner", 0o600, (uid, 0), "u:12345:r".to_string(), true),
    ];
    for (name, mode, (owner, group), entries, readable) in &cases {
        let file = folder.join(format!("{name}.raw"));
        image(&file, *mode);
        // The same of a folder, and through a link.
        let inner = folder.join(name).join("a.raw");
        image(&inner, 0o644);
        let above = folder.join(name);
        set_mode(&above, mode | (mode & 0o444) >> 2);
        std::os::unix::fs::symlink(format!("{name}.raw"), folder.join(format!("{name}.img")))
            .expect("a link");
        for path in [&file, &above] {
            chown(path, Some(*owner), Some(*group)).expect("another owner");
        }
        setfacl(&file, entries);
        setfacl(&above, &entries.replace(":r", ":rx"));
        assert_eq!(may_read(user, &file), *readable, "{name}");
        assert_eq!(may_read(user, &above), *readable, "{name}");
    }
    let mount = Mount::with(&folder, &["--allow-other"]);
    for pass in 0..2 {
        for (name, _, _, _, readable) in &cases {
            for view in [
                format!("{name}.raw.vhd"),
                format!("{name}.img.vhd"),
                (*name).to_string(),
                format!("{name}/a.vhd"),
            ] {
                let view = mount.join(view);
                assert_eq!(
                    may_read(user, &view),
                    *readable,
                    "{}, {pass}",
                    view.display()
                );
            }
        }
        // The second time by the attributes of a listing.
        run_ok(Command::new(tool("ls")).arg("-lR").arg(mount.path()));
    }
    let mode = mount.join("mask.raw.vhd").metadata().expect("a view");
    assert_eq!(mode.permissions().mode() & 0o777, 0o400);
    mount.unmount();
}
