//! The right system on other file systems than ext4, and on logical volumes: made by the tools
//! for them, and judged as on ext4.

use std::fs;
use std::path::{Path, PathBuf};

use check::{Options, Report, Verdict};

use super::base::{self, base};
use super::tools::{self, Folder, MIB, check, ids, run, run_with_input};
use crate::harness::Loop;

/// Findings of the right system on ext4.
const SYSTEM: &[&str] = &["agent-version", "cmdline-rootdelay-long", "size-upload"];
const FSTAB: &str = "/dev/sda2 /boot/efi vfat umask=0077 0 1\n";

/// The right image with another file system in place of its root.
fn with_root(folder: &Folder, root: &Path) -> PathBuf {
    let image = folder.copy("disk.raw", &base().image);
    tools::write_at(&image, base::ROOT_START, &vec![0; MIB as usize]);
    tools::embed(&image, base::ROOT_START, root);
    image
}

/// Makes a file system on `part`: mounted on `$1`, a script fills it from the system in `$2`.
fn fill(part: &Path, script: &str, files: &Folder) {
    let point = files.path("point");
    fs::create_dir_all(&point).unwrap();
    // In a mount namespace of its own, so that nothing stays mounted whatever happens.
    let script = format!("mount -o loop \"$0\" \"$1\"; {script}; umount \"$1\"");
    let root = &base().root;
    let files = files.path("");
    run(
        "unshare",
        &[
            &"--mount", &"sh", &"-euc", &script, &part, &point, &root, &files,
        ],
    );
}

/// A file for the system: its `/etc/fstab`, or its boot menu.
fn file(folder: &Folder, name: &str, text: &str) {
    folder.file(name, text.as_bytes());
}

fn menu(cmdline: &str) -> String {
    base::grub_cfg(&base().kernel, cmdline)
}

fn assert_like_ext4(image: &Path, more: &[&'static str]) -> Report {
    let report = check(image, Options::default());
    let mut expected = [SYSTEM, more].concat();
    expected.sort_unstable();
    assert_eq!(ids(&report), expected, "{report}");
    assert_eq!(report.verdict(), Verdict::Ready, "{report}");
    report
}

fn make_xfs(part: &Path) {
    run(
        "mkfs.xfs",
        &[&"-q", &"-m", &format!("uuid={}", base::ROOT_UUID), &part],
    );
}

#[test]
fn a_system_on_xfs() {
    let folder = Folder::new();
    let part = folder.sparse("part", base::ROOT_SIZE);
    make_xfs(&part);
    file(
        &folder,
        "fstab",
        &format!("/dev/sda3 / xfs defaults 0 1\n{FSTAB}"),
    );
    fill(
        &part,
        "cp -a \"$2/.\" \"$1\"; cp \"$3/fstab\" \"$1/etc/fstab\"",
        &folder,
    );
    let image = with_root(&folder, &part);
    assert_like_ext4(&image, &[]);
    // What is broken on it is found.
    fill(&part, "rm \"$1/usr/sbin/sshd\"", &folder);
    let image = with_root(&folder, &part);
    let report = check(&image, Options::default());
    assert!(ids(&report).contains(&"ssh-missing"), "{report}");
    assert_eq!(report.verdict(), Verdict::NotReady);
}

/// Root and `/boot` in subvolumes, found by `rootflags=` as on Fedora, and as the default
/// subvolume, as on openSUSE.
#[test]
fn a_system_on_btrfs() {
    let folder = Folder::new();
    let part = folder.sparse("part", base::ROOT_SIZE);
    run("mkfs.btrfs", &[&"-q", &"-U", &base::ROOT_UUID, &part]);
    let fstab = format!(
        "/dev/sda3 / btrfs defaults,subvol=system 0 0\n\
         /dev/sda3 /boot btrfs defaults,subvol=/boot 0 0\n{FSTAB}"
    );
    file(&folder, "fstab", &fstab);
    let cmdline = |flags: &str| menu(&format!("{} {flags}", base::CMDLINE));
    file(&folder, "flags.cfg", &cmdline("rootflags=subvol=system"));
    file(&folder, "wrong.cfg", &cmdline("rootflags=subvol=other"));
    file(&folder, "default.cfg", &cmdline(""));
    fill(
        &part,
        "mount -o remount,compress-force=zstd \"$1\"\n\
         btrfs -q subvolume create \"$1/system\"; btrfs -q subvolume create \"$1/boot\"\n\
         cp -a \"$2/boot/.\" \"$1/boot\"\n\
         tar -C \"$2\" --exclude=./boot/* -c . | tar -C \"$1/system\" -x\n\
         cp \"$3/fstab\" \"$1/system/etc/fstab\"; cp \"$3/flags.cfg\" \"$1/boot/grub/grub.cfg\"",
        &folder,
    );
    assert_like_ext4(&with_root(&folder, &part), &[]);

    fill(
        &part,
        "cp \"$3/wrong.cfg\" \"$1/boot/grub/grub.cfg\"",
        &folder,
    );
    let report = check(&with_root(&folder, &part), Options::default());
    assert!(ids(&report).contains(&"root-subvolume"), "{report}");
    assert_eq!(report.verdict(), Verdict::NotReady);

    // Without a flag, the topmost subvolume is mounted, which holds no system.
    fill(
        &part,
        "cp \"$3/default.cfg\" \"$1/boot/grub/grub.cfg\"",
        &folder,
    );
    let report = check(&with_root(&folder, &part), Options::default());
    assert_eq!(report.verdict(), Verdict::NotReady, "{report}");
    let change = "btrfs subvolume set-default \"$1/system\"";
    fill(&part, change, &folder);
    fill(&part, "btrfs -q subvolume list \"$1\"", &folder);
    assert_like_ext4(&with_root(&folder, &part), &[]);
    let change = "mount -o remount,compress=no \"$1\"\n\
                  sed -i s,subvol=/boot,subvol=/kernels, \"$1/etc/fstab\"";
    fill(&part, change, &folder);
    let report = check(&with_root(&folder, &part), Options::default());
    assert!(ids(&report).contains(&"fstab-subvolume"), "{report}");
}

/// Runs LVM's tool on devices, without activating anything: that would need the device mapper.
fn lvm(command: &str, devices: &[&Path], args: &[&str]) -> String {
    let devices: Vec<_> = devices
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let devices = devices.join(",");
    let config = "backup{backup=0 archive=0}";
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&command, &"--quiet"];
    all.extend([&"--driverloaded" as &dyn AsRef<std::ffi::OsStr>, &"n"]);
    all.extend([&"--config" as &dyn AsRef<std::ffi::OsStr>, &config]);
    all.extend([&"--devices" as &dyn AsRef<std::ffi::OsStr>, &devices]);
    all.extend(args.iter().map(|arg| arg as &dyn AsRef<std::ffi::OsStr>));
    run("lvm", &all)
}

const NOT_ACTIVATED: [&str; 4] = ["-an", "-Zn", "-Wn", "-y"];

/// Copies a file system to where a volume's extents are, as LVM's own tool tells.
fn copy_to_extents(report: &str, devices: &[(&Path, &Path)], from: &Path) {
    const EXTENT: u64 = 4 * MIB;
    let bytes = fs::read(from).unwrap();
    let mut at = 0;
    for range in report
        .split_whitespace()
        .filter(|word| word.starts_with("/dev/"))
    {
        let (device, extents) = range.split_once(':').unwrap();
        let (first, last) = extents.split_once('-').unwrap();
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        let length = ((last - first + 1) * EXTENT) as usize;
        let found = devices.iter().find(|(path, _)| *path == Path::new(device));
        // The first extent is 1 MiB behind the beginning.
        let piece = &bytes[at..bytes.len().min(at + length)];
        tools::write_at(found.unwrap().1, MIB + first * EXTENT, piece);
        at += piece.len();
    }
    assert_eq!(at, bytes.len());
}

/// An initial RAM disk with LVM's program and the device mapper behind that of the system.
fn initrd_with_lvm(folder: &Folder) -> PathBuf {
    let kernel = &base().kernel;
    let module = format!("usr/lib/modules/{kernel}/kernel/drivers/md/dm-mod.ko");
    let added = folder.path("added");
    for path in ["usr/sbin/lvm", &module] {
        fs::create_dir_all(added.join(path).parent().unwrap()).unwrap();
        fs::write(added.join(path), b"x").unwrap();
    }
    let list = run(
        "sh",
        &[
            &"-c",
            &"cd \"$0\" && find . | cpio -o -H newc --quiet > ../added.cpio",
            &added,
        ],
    );
    assert!(list.is_empty(), "{list}");
    let initrd = base().root.join(format!("boot/initrd.img-{kernel}"));
    let mut bytes = fs::read(initrd).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(fs::read(folder.path("added.cpio")).unwrap());
    folder.file("initrd.img", &bytes)
}

/// The disk of the right image without its root; it is on partition 4, as `/boot` then is on 3.
const VOLUME_START: u64 = base::SPARE_START;
const VOLUME_SIZE: u64 = 600 * MIB;

/// `/boot` on ext4, and the rest on a logical volume with XFS, as Red Hat's installer makes it.
#[test]
fn a_system_on_a_logical_volume() {
    let folder = Folder::new();
    let part = folder.sparse("part", 448 * MIB);
    run("mkfs.xfs", &[&"-q", &part]);
    let fstab = "/dev/mapper/my--vg-root / xfs defaults 0 1\n/dev/sda3 /boot ext4 defaults 0 1\n";
    file(&folder, "fstab", &format!("{fstab}{FSTAB}"));
    fill(
        &part,
        "tar -C \"$2\" --exclude=./boot/* -c . | tar -C \"$1\" -x; cp \"$3/fstab\" \"$1/etc/fstab\"",
        &folder,
    );
    let image = with_boot(&folder, "root=/dev/mapper/my--vg-root");
    let pv = folder.sparse("pv", VOLUME_SIZE);
    let device = Loop::with_sectors_of(&pv, 512);
    let devices = [device.path()];
    let path = device.path().display().to_string();
    lvm("pvcreate", &devices, &[&path]);
    lvm("vgcreate", &devices, &["my-vg", &path]);
    let create = |name: &str, size: &str| {
        let args = [&NOT_ACTIVATED[..], &["-n", name, "-L", size, "my-vg"]].concat();
        lvm("lvcreate", &devices, &args);
    };
    // The root goes on behind another volume.
    create("root", "400M");
    create("var", "20M");
    lvm("lvextend", &devices, &["-L", "448M", "my-vg/root"]);
    let args = [
        "--noheadings",
        "--segments",
        "-o",
        "seg_pe_ranges",
        "my-vg/root",
    ];
    let report = lvm("lvs", &devices, &args);
    assert_eq!(report.matches(&path).count(), 2, "{report}");
    copy_to_extents(&report, &[(device.path(), &pv)], &part);
    drop(device);
    tools::embed(&image, VOLUME_START, &pv);
    let report = assert_like_ext4(&image, &["lvm"]);
    let cmdline = report
        .stages
        .iter()
        .find(|stage| stage.name.name() == "cmdline")
        .unwrap();
    let evidence = format!("{:?}", cmdline);
    assert!(
        evidence.contains("the logical volume my-vg/root"),
        "{evidence}"
    );

    for (name, expected) in [
        ("root=/dev/my-vg/root", None),
        ("root=/dev/mapper/my--vg-rest", Some("root-missing")),
        ("root=/dev/mapper/loop0p1", Some("root-missing")),
        ("root=/dev/mapper/my--vg-root rd.lvm.lv=my-vg/root", None),
    ] {
        let boot = with_boot(&folder, name);
        tools::embed(&boot, VOLUME_START, &pv);
        let found = check(&boot, Options::default());
        match expected {
            None => assert_eq!(found.verdict(), Verdict::Ready, "{name} {found}"),
            Some(id) => {
                assert_eq!(found.verdict(), Verdict::NotReady, "{name} {found}");
                assert!(ids(&found).contains(&id), "{name} {found}");
            }
        }
    }

    // A damaged description is unknown, not missing.
    let label = run("grep", &[&"-abo", &"my-vg {", &image]);
    // Behind older ones, which stay in the ring, is the one that counts.
    let at = label.lines().last().unwrap().split(':').next().unwrap();
    tools::write_at(&image, at.parse().unwrap(), b"no");
    let report = check(&image, Options::default());
    assert_eq!(report.verdict(), Verdict::Unknown, "{report}");
}

/// The right image with its root's `/boot` alone in partition 3, and a partition behind it.
fn with_boot(folder: &Folder, root: &str) -> PathBuf {
    let image = folder.copy("disk.raw", &base().image);
    fs::File::options()
        .write(true)
        .open(&image)
        .and_then(|file| file.set_len(VOLUME_START + VOLUME_SIZE + MIB))
        .unwrap();
    let new = format!("4:{}:+{}M", VOLUME_START / 512, VOLUME_SIZE / MIB);
    run("sgdisk", &[&"-e", &"-n", &new, &"-t", &"4:8e00", &image]);
    let boot = folder.path("boot");
    let files = boot.join("boot");
    drop(fs::remove_dir_all(&boot));
    fs::create_dir_all(&boot).unwrap();
    run("cp", &[&"-a", &base().root.join("boot"), &files]);
    let kernel = &base().kernel;
    let cmdline = base::CMDLINE.replace("root=/dev/sda3", root);
    fs::write(files.join("grub/grub.cfg"), menu(&cmdline)).unwrap();
    fs::copy(
        initrd_with_lvm(folder),
        files.join(format!("initrd.img-{kernel}")),
    )
    .unwrap();
    // A link to the folder itself, so that paths with and without `/boot` lead to the files.
    let part = folder.path("boot.ext4");
    drop(fs::remove_file(&part));
    let size = format!("{}k", base::ROOT_SIZE / 1024);
    run(
        "mkfs.ext4",
        &[&"-q", &"-U", &base::ROOT_UUID, &"-d", &boot, &part, &size],
    );
    tools::embed(&image, base::ROOT_START, &part);
    image
}

/// The bytes of a volume in stripes on two partitions are those that LVM's layout gives.
#[test]
fn striped_volumes() {
    let folder = Folder::new();
    let size = 64 * MIB;
    let image = folder.sparse("disk.raw", 3 * size);
    let starts = [MIB, MIB + size];
    let script = format!(
        "label: gpt\nstart={}, size={}, type=V\nstart={}, size={}, type=V\n",
        starts[0] / 512,
        size / 512,
        starts[1] / 512,
        size / 512
    );
    run_with_input("sfdisk", &[&"--quiet", &image], script.as_bytes());
    let parts = [folder.sparse("pv1", size), folder.sparse("pv2", size)];
    let devices = parts
        .each_ref()
        .map(|part| Loop::with_sectors_of(part, 512));
    let paths = devices
        .each_ref()
        .map(|device| device.path().display().to_string());
    let list = devices.each_ref().map(|device| device.path());
    lvm("pvcreate", &list, &[&paths[0], &paths[1]]);
    lvm("vgcreate", &list, &["group", &paths[0], &paths[1]]);
    let args = ["-n", "root", "-i", "2", "-I", "64k", "-l", "16", "group"];
    lvm("lvcreate", &list, &[&NOT_ACTIVATED[..], &args].concat());
    drop(devices);
    // A small system in stripes of 64 KiB, dealt out in turns behind the first MiB.
    let root = folder.path("root");
    for path in ["etc", "usr/sbin"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=debian\n").unwrap();
    fs::write(
        root.join("etc/fstab"),
        "LABEL=none /data ext4 defaults 0 2\n",
    )
    .unwrap();
    let part = folder.path("part");
    run("mkfs.ext4", &[&"-q", &"-d", &root, &part, &"64m"]);
    for (number, chunk) in fs::read(part).unwrap().chunks(64 << 10).enumerate() {
        if chunk.iter().any(|&byte| byte != 0) {
            let at = MIB + (number as u64 / 2) * (64 << 10);
            tools::write_at(&parts[number % 2], at, chunk);
        }
    }
    for (part, start) in parts.iter().zip(starts) {
        tools::embed(&image, start, part);
    }
    let report = check(&image, Options::default());
    assert!(ids(&report).contains(&"fstab-device"), "{report}");
    // Without the second half, it is said that it is elsewhere.
    run("sgdisk", &[&"-d", &"2", &image]);
    let report = check(&image, Options::default());
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.id == "root-unknown");
    assert!(
        finding.unwrap().message.contains("another disk"),
        "{report}"
    );
}
