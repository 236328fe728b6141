//! Images of real file systems with bytes changed at random: a check ends, within its bounds.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use check::{self, Options};
use disk::Disk;

use super::base::{CMDLINE, grub_cfg};
use super::tools::{self, Folder, MIB, run, run_with_input};

/// Images that are tried with each file system.
const ROUNDS: u64 = 150;
const ESP_START: u64 = MIB;
const ESP_SIZE: u64 = 2 * MIB;
const ROOT_START: u64 = ESP_START + ESP_SIZE;
const ROOT_SIZE: u64 = 6 * MIB;
const DISK_SIZE: u64 = ROOT_START + ROOT_SIZE + MIB;
const KERNEL: &str = "6.1.0";

/// Bytes that count what is read from them.
struct Memory {
    bytes: Rc<Vec<u8>>,
    changes: Vec<(u64, u8)>,
    read: Rc<Cell<u64>>,
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes[..].read_exact_at(buffer, offset)?;
        let end = offset + buffer.len() as u64;
        for (at, value) in &self.changes {
            if (offset..end).contains(at) {
                buffer[(at - offset) as usize] = *value;
            }
        }
        self.read.set(self.read.get() + buffer.len() as u64);
        Ok(())
    }
}

/// A small system on a file system with these features, behind an EFI system partition.
fn disk(folder: &Folder, features: &str) -> Vec<u8> {
    let root = folder.path("root");
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("usr/sbin/sshd", b"x");
    write("usr/sbin/waagent", b"x");
    write(
        &format!("lib/modules/{KERNEL}/modules.dep"),
        b"kernel/fs/udf/udf.ko:\n",
    );
    write(
        "usr/lib/python3/dist-packages/WALinuxAgent-2.9.egg-info",
        b"x",
    );
    write(&format!("boot/vmlinuz-{KERNEL}"), &[7; 20_000]);
    write(&format!("boot/initrd.img-{KERNEL}"), &[1; 300_000]);
    write("boot/grub/grub.cfg", grub_cfg(KERNEL, CMDLINE).as_bytes());
    for name in 0..200 {
        write(&format!("etc/udev/rules.d/{name}.rules"), b"# nothing\n");
    }
    let part = folder.path("part");
    let size = format!("{}k", ROOT_SIZE / 1024);
    run(
        "mkfs.ext4",
        &[&"-q", &"-O", &features, &"-d", &root, &part, &size],
    );
    let esp = folder.path("esp");
    run("mkfs.vfat", &[&"-C", &esp, &(ESP_SIZE / 1024).to_string()]);
    run(
        "mmd",
        &[&"-i", &esp, &"::EFI", &"::EFI/BOOT", &"::EFI/other"],
    );
    let image = folder.sparse("disk.raw", DISK_SIZE);
    let script = format!(
        "label: gpt\nstart={}, size={}, type=U\nstart={}, size={}\n",
        ESP_START / 512,
        ESP_SIZE / 512,
        ROOT_START / 512,
        ROOT_SIZE / 512
    );
    run_with_input("sfdisk", &[&"--quiet", &image], script.as_bytes());
    embed_all(&image, &esp, &part);
    std::fs::read(image).unwrap()
}

fn embed_all(image: &Path, esp: &Path, root: &Path) {
    tools::embed(image, ESP_START, esp);
    tools::embed(image, ROOT_START, root);
}

/// Numbers that look random (xorshift), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn assert_bounded(features: &str, seed: u64) {
    let folder = Folder::new();
    let bytes = Rc::new(disk(&folder, features));
    // Where there is nothing, changes change nothing; they go where something is.
    let filled: Vec<u64> = (ESP_START..ROOT_START + ROOT_SIZE)
        .filter(|&at| bytes[at as usize] != 0)
        .filter(|&at| ![1, 7].contains(&bytes[at as usize]) || at % 97 == 0)
        .collect();
    let mut numbers = Numbers(seed);
    for round in 0..ROUNDS {
        let mut changes = Vec::new();
        for _ in 0..1 + numbers.below(40) {
            let at = filled[numbers.below(filled.len() as u64) as usize] + numbers.below(4);
            changes.push((at, numbers.below(256) as u8));
        }
        let read = Rc::default();
        let memory = Memory {
            bytes: Rc::clone(&bytes),
            changes,
            read: Rc::clone(&read),
        };
        let report = check::check("x.raw", Rc::new(memory), &Options::default(), &mut |_| {});
        assert!(report.is_ok());
        assert!(
            read.get() < 256 * MIB,
            "round {round} read {} bytes",
            read.get()
        );
    }
}

#[test]
fn file_systems_without_checksums() {
    assert_bounded("^metadata_csum,^has_journal", 88172645463325252);
    assert_bounded("^metadata_csum,^extents,^64bit", 362436069);
}

#[test]
fn file_systems_with_checksums() {
    assert_bounded("metadata_csum", 521288629);
}

/// Many large files that are nothing but holes do not take memory or time.
#[test]
fn folders_full_of_holes() {
    let folder = Folder::new();
    let mut bytes = disk(&folder, "metadata_csum");
    let root = folder.path("root");
    for name in 0..150 {
        let path = root.join(format!("etc/udev/rules.d/hole{name}.rules"));
        std::fs::File::create(path)
            .and_then(|file| file.set_len(15 << 20))
            .unwrap();
    }
    let part = folder.path("holes");
    run(
        "mkfs.ext4",
        &[
            &"-q",
            &"-d",
            &root,
            &part,
            &format!("{}k", ROOT_SIZE / 1024),
        ],
    );
    let part = std::fs::read(part).unwrap();
    bytes[ROOT_START as usize..][..part.len()].copy_from_slice(&part);
    let memory = Memory {
        bytes: Rc::new(bytes),
        changes: vec![],
        read: Rc::default(),
    };
    let report = check::check("x.raw", Rc::new(memory), &Options::default(), &mut |_| {}).unwrap();
    let unreadable = report.findings.iter().filter(|f| f.id == "network-unknown");
    let messages: Vec<_> = unreadable.map(|f| f.message.as_str()).collect();
    let limit = "more than 536870912 bytes of text would have to be read";
    assert!(messages[0].contains("network"), "{report}");
    assert!(
        messages.iter().all(|message| message.contains(limit)),
        "{report}"
    );
}
