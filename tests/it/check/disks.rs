//! Partition tables, boot loaders and contents of partitions, made by the tools for them.

use std::fs::File;
use std::path::{Path, PathBuf};

use check::{self, Generation, Options, Report};

use super::base::{self, base};
use super::tools::{
    self, DATA, FileDisk, Folder, MIB, assert_findings, check, ids, run, run_with_input,
};
use crate::harness::Loop;

/// Findings of the right system beside the upload's size, which every image has.
const SYSTEM: &[&str] = &["agent-version", "cmdline-rootdelay-long"];

fn generation(generation: Generation) -> Options {
    Options {
        generation: Some(generation),
        data_disk: false,
        secure_boot: false,
    }
}

/// A copy of the right image.
fn right() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let image = folder.copy("disk.raw", &base().image);
    (folder, image)
}

fn with_system(more: &[&'static str]) -> Vec<&'static str> {
    [SYSTEM, more].concat()
}

/// Writes zeros over a part of an image.
fn wipe(image: &Path, offset: u64, size: u64) {
    tools::write_at(image, offset, &vec![0; size as usize]);
}

#[test]
fn boot_code_and_bios_boot_partition() {
    let (_folder, image) = right();
    run("sgdisk", &[&"-d", &"1", &image]);
    let first = generation(Generation::One);
    assert_findings(&image, first, &with_system(&["bios-boot-partition"]));
    assert_findings(&image, Options::default(), SYSTEM);
    wipe(&image, 0, 440);
    let both = with_system(&["bios-boot-code", "bios-boot-partition"]);
    assert_findings(&image, first, &both);
    assert_findings(&image, Options::default(), SYSTEM);
    assert_findings(&image, DATA, &[]);
}

#[test]
fn efi_loaders() {
    let esp_of = |image: &Path| format!("{}@@{}", image.display(), base::ESP_START);
    let (_folder, image) = right();
    run("mdel", &[&"-i", &esp_of(&image), &"::EFI/BOOT/BOOTX64.EFI"]);
    let report = assert_findings(&image, Options::default(), &with_system(&["efi-loader"]));
    let finding = report
        .findings
        .iter()
        .find(|f| f.id == "efi-loader")
        .unwrap();
    assert!(finding.message.contains("debian"), "{}", finding.message);
    assert_findings(&image, generation(Generation::One), SYSTEM);
    run("sgdisk", &[&"-d", &"2", &image]);
    // Without such a partition it looks like the first generation; `/etc/fstab` wants it.
    let expected = with_system(&["fstab-device"]);
    let report = assert_findings(&image, Options::default(), &expected);
    assert_eq!(report.generation, Generation::One);
    assert_findings(
        &image,
        generation(Generation::Two),
        &with_system(&["efi-partition", "fstab-device"]),
    );

    let (_folder, image) = right();
    wipe(&image, base::ESP_START, MIB);
    assert_findings(
        &image,
        Options::default(),
        &with_system(&["efi-unreadable", "fstab-type"]),
    );
    assert!(!check(&image, Options::default()).ready);
}

/// Adds a partition of a type behind the root file system.
fn with_spare(kind: &str) -> (Folder, PathBuf) {
    let (folder, image) = right();
    let start = base::SPARE_START / 512;
    let new = format!("4:{start}:+{}M", base::SPARE_SIZE / MIB);
    run(
        "sgdisk",
        &[&"-n", &new, &"-t", &format!("4:{kind}"), &image],
    );
    (folder, image)
}

#[test]
fn contents_against_the_guide() {
    let embed = |folder: &Folder, image: &Path, make: &dyn Fn(&Path)| {
        let part = folder.sparse("part", base::SPARE_SIZE);
        make(&part);
        tools::embed(image, base::SPARE_START, &part);
    };
    let linux = "8300";
    let (folder, image) = with_spare(linux);
    assert_findings(&image, Options::default(), SYSTEM);
    embed(&folder, &image, &|part| {
        drop(run("mkfs.ext4", &[&"-q", &part]))
    });
    assert_findings(&image, Options::default(), SYSTEM);

    let (folder, image) = with_spare(linux);
    embed(&folder, &image, &|part| drop(run("mkswap", &[&part])));
    assert_findings(
        &image,
        Options::default(),
        &with_system(&["swap-partition"]),
    );
    assert_findings(&image, DATA, &[]);
    let (_folder, image) = with_spare("8200");
    assert_findings(
        &image,
        Options::default(),
        &with_system(&["swap-partition"]),
    );

    let (folder, image) = with_spare(linux);
    embed(&folder, &image, &|part| {
        let device = Loop::with_sectors_of(part, 512);
        run("pvcreate", &[&"--quiet", &device.path()]);
    });
    assert_findings(&image, Options::default(), &with_system(&["lvm"]));
    let (_folder, image) = with_spare("8e00");
    assert_findings(&image, Options::default(), &with_system(&["lvm"]));

    for kind in ["luks1", "luks2"] {
        let (folder, image) = with_spare(linux);
        embed(&folder, &image, &|part| {
            let args = [
                "luksFormat",
                "--batch-mode",
                "--pbkdf=pbkdf2",
                "--pbkdf-force-iterations=1000",
                "--type",
                kind,
            ];
            let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = args.iter().map(|a| a as _).collect();
            args.extend([&part as &dyn AsRef<std::ffi::OsStr>, &"-"]);
            run_with_input("cryptsetup", &args, b"passphrase");
        });
        assert_findings(&image, Options::default(), &with_system(&["luks"]));
    }

    // The superblock of software RAID 1.2, as mdadm writes it (no device for it here).
    let (_folder, image) = with_spare(linux);
    tools::write_at(
        &image,
        base::SPARE_START + 4096,
        &0xa92b_4efc_u32.to_le_bytes(),
    );
    assert_findings(&image, Options::default(), &with_system(&["raid"]));
    let (_folder, image) = with_spare("fd00");
    assert_findings(&image, Options::default(), &with_system(&["raid"]));
}

#[test]
fn root_file_systems_that_are_not_looked_into() {
    // Their magic numbers: there are tools for reading them neither here nor in `check`.
    for (magic, name) in [(0xe0f5_e1e2_u32, "EROFS"), (0xf2f5_2010, "F2FS")] {
        let (_folder, image) = right();
        wipe(&image, base::ROOT_START, MIB);
        tools::write_at(&image, base::ROOT_START + 0x400, &magic.to_le_bytes());
        // The core's script looks for another file system.
        let expected = ["grub-modules", "root-unknown"];
        let report = assert_findings(&image, Options::default(), &expected);
        let finding = report
            .findings
            .iter()
            .find(|f| f.id == "root-unknown")
            .unwrap();
        assert!(finding.message.contains(name), "{}", finding.message);
        assert!(!report.ready);
    }
    let (_folder, image) = right();
    wipe(&image, base::ROOT_START, MIB);
    assert_findings(
        &image,
        Options::default(),
        &["grub-modules", "root-unknown"],
    );
}

/// A `/boot` on a partition of its own, with paths as GRUB then has them.
#[test]
fn separate_boot_partitions() {
    let (folder, image) = with_spare("8300");
    let root = &base().root;
    let kernel = &base().kernel;
    let boot = folder.path("boot");
    std::fs::create_dir_all(boot.join("grub")).unwrap();
    let uuid = "5b1f0c9e-2222-4222-8333-9abcdef01234";
    let menu = base::grub_cfg(kernel, &format!("{} quiet", base::CMDLINE));
    let menu = menu.replace("/boot/", "/").replace(base::ROOT_UUID, uuid);
    std::fs::write(
        boot.join("grub/grub.cfg"),
        menu.replace("hd0,gpt3", "hd0,gpt4"),
    )
    .unwrap();
    for file in ["initrd.img", "config", "vmlinuz"] {
        let name = format!("{file}-{kernel}");
        std::fs::copy(root.join("boot").join(&name), boot.join(&name)).unwrap();
    }
    let part = folder.path("part");
    let size = format!("{}M", base::SPARE_SIZE / MIB);
    run(
        "mkfs.ext4",
        &[&"-q", &"-U", &uuid, &"-d", &boot, &part, &size],
    );
    tools::embed(&image, base::SPARE_START, &part);
    let script = folder.file("debugfs", b"rm /boot/grub/grub.cfg\n");
    let next = folder.file("grub.cfg", b"configfile (hd0,gpt4)/grub/grub.cfg\n");
    let commands = format!("write {} /boot/grub/grub.cfg\n", next.display());
    let device = format!("{}?offset={}", image.display(), base::ROOT_START);
    run("debugfs", &[&"-w", &"-f", &script, &device]);
    run_with_input(
        "debugfs",
        &[&"-w", &"-f", &"-", &device],
        commands.as_bytes(),
    );
    assert_findings(&image, Options::default(), &with_system(&["cmdline-quiet"]));
}

/// The system on an MBR disk with an extended partition.
#[test]
fn mbr_disks() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", base::DISK_SIZE);
    let (root, spare) = (base::ROOT_START / 512, base::SPARE_START / 512);
    let size = base::ROOT_SIZE / 512;
    let script = |swap: &str| {
        format!(
            "label: dos\nstart={root}, size={size}, type=83, bootable\n\
             start={spare}, size=65536, type=5\nstart={}, size=2048, type=83\n\
             start={}, size=2048, type={swap}\n",
            spare + 2048,
            spare + 8192,
        )
    };
    run_with_input("sfdisk", &[&"--quiet", &image], script("83").as_bytes());
    let part = folder.sparse("part", base::ROOT_SIZE);
    copy_range(&base().image, base::ROOT_START, &part);
    tools::embed(&image, base::ROOT_START, &part);
    // The names of the image's partitions mean nothing here.
    let lost = ["fstab-device", "fstab-root", "root-missing"];
    let with = |more: &'static str| with_system(&[&lost[..], &[more]].concat());
    let report = assert_findings(&image, Options::default(), &with("bios-boot-code"));
    assert_eq!(report.generation, Generation::One);
    tools::write_at(&image, 0, &[0xeb, 0x63, 0x90]);
    assert_findings(&image, Options::default(), &with("bios-loader-unknown"));
    assert_findings(&image, generation(Generation::Two), &with("efi-table"));
    run_with_input("sfdisk", &[&"--quiet", &image], script("82").as_bytes());
    let expected = [&with("bios-loader-unknown")[..], &["swap-partition"]].concat();
    assert_findings(&image, Options::default(), &expected);
}

/// Copies a part of an image into a file of the part's size.
fn copy_range(image: &Path, offset: u64, part: &Path) {
    use std::os::unix::fs::FileExt;
    let size = std::fs::metadata(part).unwrap().len();
    let mut bytes = vec![0; size as usize];
    File::open(image)
        .unwrap()
        .read_exact_at(&mut bytes, offset)
        .unwrap();
    std::fs::write(part, bytes).unwrap();
}

/// The root file system directly on the disk.
#[test]
fn disks_without_a_table() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", base::ROOT_SIZE);
    copy_range(&base().image, base::ROOT_START, &image);
    // The names of the image's partitions mean nothing here.
    let lost = [
        "fstab-device",
        "fstab-root",
        "root-missing",
        "table-file-system",
    ];
    let expected = with_system(&[&lost[..], &["bios-boot-code"]].concat());
    assert_findings(&image, Options::default(), &expected);
    let expected = with_system(&[&lost[..], &["efi-table"]].concat());
    assert_findings(&image, generation(Generation::Two), &expected);
    assert_findings(&image, DATA, &[]);
}

#[test]
fn partitions_out_of_place() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 30 * MIB);
    let args = [
        "start=2048, size=8192, type=83",
        "start=20480, size=8192, type=83",
    ];
    let script = format!("label: dos\n{}\n{}\n", args[0], args[1]);
    run_with_input("sfdisk", &[&"--quiet", &image], script.as_bytes());
    assert_findings(&image, DATA, &[]);
    // The tools refuse to overlap, so the second partition is moved by hand.
    tools::write_at(&image, 446 + 16 + 8, &4096_u32.to_le_bytes());
    assert_findings(&image, DATA, &["partition-overlap"]);
    tools::write_at(&image, 446 + 16 + 8, &60_000_u32.to_le_bytes());
    assert_findings(&image, DATA, &["partition-range"]);
}

#[test]
fn copies_of_a_gpt_that_differ() {
    let folder = Folder::new();
    let size = 30 * MIB;
    let image = folder.sparse("disk.raw", size);
    run("sgdisk", &[&"-n", &"1:2048:+1M", &image]);
    let other = folder.copy("other", &image);
    run("sgdisk", &[&"-n", &"2:8192:+1M", &other]);
    let part = folder.sparse("tail", 33 * 512);
    copy_range(&other, size - 33 * 512, &part);
    tools::write_at(&image, size - 33 * 512, &std::fs::read(part).unwrap());
    assert_findings(&image, DATA, &["gpt-copies"]);
    wipe(&image, size - 512, 512);
    assert_findings(&image, DATA, &["gpt-backup-damaged"]);
}

#[test]
fn sectors_of_4096_bytes_on_an_os_disk() {
    let folder = Folder::new();
    let image = folder.sparse("disk.raw", 30 * MIB);
    tools::divide_into_4k_sectors(&image);
    let expected = [
        "bios-boot-code",
        "bios-boot-partition",
        "boot-config",
        "root-unknown",
        "table-4kn",
    ];
    assert_findings(&image, Options::default(), &expected);
}

/// A file system of almost 1 TiB, of which little is read.
#[test]
fn a_sparse_image_of_1_tib() {
    let folder = Folder::new();
    let size = 1 << 40;
    let image = folder.sparse("disk.raw", size);
    run_with_input("sfdisk", &[&"--quiet", &image], b"label: gpt\nstart=2048\n");
    let offset = format!("offset={MIB}");
    let kib = format!("{}k", (size - 2 * MIB) / 1024);
    let lazy = format!("{offset},lazy_itable_init=1,lazy_journal_init=1");
    run("mkfs.ext4", &[&"-q", &"-F", &"-E", &lazy, &image, &kib]);
    let disk = FileDisk::open(&image);
    let read = std::rc::Rc::clone(&disk.read);
    let mut steps = Vec::new();
    let report: Report = check::check(
        "x.raw",
        std::rc::Rc::new(disk),
        &Options::default(),
        &mut |progress| {
            steps.push(progress.step);
        },
    )
    .unwrap();
    let found = ids(&report);
    assert!(
        found.contains(&"size-guide") && found.contains(&"root-unknown"),
        "{report}"
    );
    assert!(read.get() < 4 * MIB, "{} bytes were read", read.get());
    assert!(steps.contains(&"partition table") && steps.contains(&"root file system"));
    // The whole check of a system, most of it its initrd.
    let disk = FileDisk::open(&base().image);
    let read = std::rc::Rc::clone(&disk.read);
    check::check(
        "x.raw",
        std::rc::Rc::new(disk),
        &Options::default(),
        &mut |_| {},
    )
    .unwrap();
    assert!(read.get() < 256 * MIB, "{} bytes were read", read.get());
}
