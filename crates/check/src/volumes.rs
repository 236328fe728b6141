//! The file systems of an image with everything that they can be named by.

use std::cell::RefCell;
use std::rc::Rc;

use byteorder::{ByteOrder, LittleEndian};
use disk::Disk;

use crate::content::Content;
use crate::context::Context;
use crate::files::{Ext, Fat, Files, Tree};
use crate::grub::{Place, SearchBy, Stat, World};
use crate::metered::Window;
use crate::partitions::{Layout, Role};
use crate::unread::{Unread, contained};

/// A partition, or a disk without a partition table, and what is known of it.
pub(crate) struct Volume {
    /// Number of the partition; 0 for a whole disk.
    pub(crate) number: u32,
    /// What is in it.
    pub(crate) content: Content,
    /// What the partition table says that it is for.
    pub(crate) role: Role,
    /// Name of the device in GRUB, such as `hd0,gpt3`.
    pub(crate) grub: String,
    /// Identifier of the file system, as `blkid` shows it.
    pub(crate) fs_uuid: Option<String>,
    /// Label of the file system.
    pub(crate) label: Option<String>,
    /// Identifier of the partition.
    pub(crate) part_uuid: Option<String>,
    /// Name of the partition.
    pub(crate) part_label: Option<String>,
    /// Type of the partition in a GPT.
    pub(crate) part_type: Option<String>,
    /// Its files, where it has a file system that can be looked into.
    pub(crate) files: Option<Rc<dyn Files>>,
    /// Why it cannot be looked into.
    pub(crate) obstacle: Option<String>,
    /// What is left of its space.
    pub(crate) space: Option<Space>,
    window: Window,
}

/// What is left of the space of a file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Space {
    /// Bytes that are free for everybody, without those kept for the administrator.
    pub(crate) free: u64,
    /// Bytes that are free for the administrator.
    pub(crate) free_with_reserve: u64,
    /// Inodes that are free.
    pub(crate) free_inodes: u64,
}

impl Volume {
    /// The partition in words.
    pub(crate) fn place(&self) -> String {
        match self.number {
            0 => "the disk".to_owned(),
            number => format!("partition {number}"),
        }
    }

    /// Where it begins on the disk, in bytes.
    pub(crate) fn start(&self) -> u64 {
        self.window.start()
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.window.size()
    }

    fn tree(&self) -> Result<Tree, Unread> {
        match (&self.files, &self.obstacle) {
            (Some(files), _) => Ok(Tree::of(Rc::clone(files))),
            (None, Some(why)) => Err(Unread::Script(format!("{}: {why}", self.place()))),
            (None, None) => Err(Unread::Script(format!("{} has no files", self.place()))),
        }
    }
}

/// All of them.
pub(crate) struct Volumes {
    all: Vec<Volume>,
    trees: RefCell<Vec<Option<Rc<Tree>>>>,
}

impl Volumes {
    /// Opens the file systems of an image.
    pub(crate) fn open(layout: &Layout, context: &Context<'_>) -> Self {
        let kind = if layout.is_gpt() { "gpt" } else { "msdos" };
        let mut all = Vec::new();
        for partition in &layout.partitions {
            let window = partition.window(context);
            let names = contained(|| Ok(names(partition.content, &window)?)).unwrap_or_default();
            let opened = contained(|| open(partition.content, window.clone()));
            let (files, obstacle) = match opened {
                Ok(files) => (files, partition.content.obstacle()),
                Err(reason) => (None, Some(reason.to_string())),
            };
            all.push(Volume {
                number: partition.number,
                content: partition.content,
                role: partition.role,
                grub: match partition.number {
                    0 => "hd0".to_owned(),
                    number => format!("hd0,{kind}{number}"),
                },
                fs_uuid: names.uuid,
                label: names.label,
                part_uuid: partition.uuid.clone(),
                part_label: partition.label.clone(),
                part_type: partition.kind.clone(),
                files,
                obstacle,
                space: names.space,
                window,
            });
        }
        let trees = RefCell::new(vec![None; all.len()]);
        Self { all, trees }
    }

    /// All of them, in the order of the partition table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.all.iter()
    }

    /// The one that GRUB names so.
    pub(crate) fn by_grub(&self, name: &str) -> Option<&Volume> {
        let name = self.device(name)?;
        self.all.iter().find(|volume| volume.grub == name)
    }

    /// The files of the one that GRUB names so; `None` where there is no such device.
    pub(crate) fn tree(&self, device: &str) -> Result<Option<Rc<Tree>>, Unread> {
        let Some(name) = self.device(device) else {
            return Ok(None);
        };
        let Some(index) = self.all.iter().position(|volume| volume.grub == name) else {
            return Ok(None);
        };
        if let Some(tree) = &self.trees.borrow()[index] {
            return Ok(Some(Rc::clone(tree)));
        }
        let tree = Rc::new(self.all[index].tree()?);
        self.trees.borrow_mut()[index] = Some(Rc::clone(&tree));
        Ok(Some(tree))
    }

    /// The one that a name of `/etc/fstab` or of the command line means: `UUID=`, `LABEL=`,
    /// `PARTUUID=`, `PARTLABEL=`, or a path below `/dev`.
    pub(crate) fn named(&self, name: &str) -> Named<'_> {
        let one_of = |found: &dyn Fn(&Volume) -> bool| {
            let mut all = self.all.iter().filter(|volume| found(volume));
            match (all.next(), all.next()) {
                (Some(first), _) => Named::Found(first),
                (None, _) => Named::Missing,
            }
        };
        let same = |found: &Option<String>, wanted: &str| found.as_deref() == Some(wanted);
        let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
        let tags: [(&str, &str); 4] = [
            ("UUID=", "/dev/disk/by-uuid/"),
            ("LABEL=", "/dev/disk/by-label/"),
            ("PARTUUID=", "/dev/disk/by-partuuid/"),
            ("PARTLABEL=", "/dev/disk/by-partlabel/"),
        ];
        for (index, (tag, folder)) in tags.into_iter().enumerate() {
            let value = name.strip_prefix(tag).or_else(|| name.strip_prefix(folder));
            let Some(value) = value.map(unquoted) else {
                continue;
            };
            let value = unescaped(&value);
            return match index {
                0 => one_of(&|volume| same(&volume.fs_uuid, &value)),
                1 => one_of(&|volume| same(&volume.label, &value)),
                2 => self.by_partuuid(&value),
                _ => one_of(&|volume| same(&volume.part_label, &value)),
            };
        }
        self.by_path(name)
    }

    fn by_partuuid(&self, value: &str) -> Named<'_> {
        if value.contains("/PARTNROFF=") {
            return Named::Unknown("it is given by its distance from another partition");
        }
        self.all
            .iter()
            .find(|volume| volume.part_uuid.as_deref() == Some(value))
            .map_or(Named::Missing, Named::Found)
    }

    /// How an identifier is spelled that is there in other letters, capital or small. Whatever
    /// looks for one at boot compares letter by letter (udev's links, `blkid -t`).
    pub(crate) fn spelled(&self, name: &str) -> Option<&str> {
        let value = name.rsplit(['=', '/']).next()?.trim_matches('"');
        self.all
            .iter()
            .flat_map(|volume| [&volume.fs_uuid, &volume.part_uuid])
            .flatten()
            .map(String::as_str)
            .find(|found| found.eq_ignore_ascii_case(value) && *found != value)
    }

    fn by_path(&self, name: &str) -> Named<'_> {
        let Some(device) = name.strip_prefix("/dev/") else {
            return Named::NoDevice;
        };
        let numbered = |number: &str| match number.parse::<u32>() {
            Ok(number) => {
                let found = self.all.iter().find(|volume| volume.number == number);
                found.map_or(Named::Missing, Named::Found)
            }
            Err(_) => Named::Missing,
        };
        if let Some(number) = device.strip_prefix("sda") {
            return match number {
                "" => self
                    .all
                    .iter()
                    .find(|v| v.number == 0)
                    .map_or(Named::Missing, Named::Found),
                number => numbered(number),
            };
        }
        for by_other_bus in ["vd", "xvd", "hd", "mmcblk", "dasd"] {
            let rest = device.strip_prefix(by_other_bus);
            if rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric())) {
                return Named::Missing;
            }
        }
        if let Some(number) = device
            .strip_prefix("disk/azure/root-part")
            .or_else(|| device.strip_prefix("disk/azure/os-part"))
        {
            return numbered(number);
        }
        if device.starts_with("nvme0n1p") {
            return Named::Unknown("only machines with NVMe have such a device");
        }
        if device.starts_with("sd") {
            return Named::Unknown("it is on another disk");
        }
        if device.starts_with("mapper/") || device.starts_with("dm-") || device.starts_with("md") {
            return Named::Unknown("it is made of others (LVM, LUKS or RAID)");
        }
        match device {
            "root" => Named::NoDevice,
            _ if device.contains('/') && !device.starts_with("disk/") => {
                Named::Unknown("it may be a logical volume")
            }
            _ => Named::Unknown("the name of the device is not known here"),
        }
    }
}

/// What a name of a device means.
#[derive(Clone, Copy)]
pub(crate) enum Named<'v> {
    /// This one.
    Found(&'v Volume),
    /// Nothing in the image.
    Missing,
    /// It cannot be told, and why.
    Unknown(&'static str),
    /// It is no device.
    NoDevice,
}

/// Names in `/dev/disk` with `\x20` for a blank.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("\\x") {
        let code = rest
            .get(at + 2..at + 4)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        text.push_str(&rest[..at]);
        match code {
            Some(code) if code.is_ascii() => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            _ => {
                text.push_str("\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    text + rest
}

fn open(content: Content, window: Window) -> Result<Option<Rc<dyn Files>>, Unread> {
    Ok(match content {
        Content::Ext => Some(Rc::new(Ext::open(window)?)),
        Content::Fat => Some(Rc::new(Fat::open(window)?)),
        _ => None,
    })
}

#[derive(Default)]
struct Names {
    uuid: Option<String>,
    label: Option<String>,
    space: Option<Space>,
}

/// Identifier and label in a superblock.
fn names(content: Content, window: &Window) -> std::io::Result<Names> {
    let head = |at: u64, size: usize| -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        window.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    };
    let uuid = |bytes: &[u8]| {
        let bytes: [u8; 16] = bytes.try_into().ok()?;
        Some(uuid::Uuid::from_bytes(bytes).to_string())
    };
    let (uuid_at, label_at, label_size) = match content {
        Content::Ext => (0x468, 0x478, 16),
        Content::Xfs => (32, 108, 12),
        Content::Btrfs => (0x10020, 0x1012b, 256),
        Content::Swap => (0x40c, 0x41c, 16),
        Content::Fat => return fat_names(&head(0, 512)?),
        Content::Luks => {
            let text = head(168, 40)?;
            return Ok(Names {
                uuid: text_of(&text),
                ..Names::default()
            });
        }
        _ => return Ok(Names::default()),
    };
    let space = match content {
        Content::Ext => Some(ext_space(&head(1024, 1024)?)),
        _ => None,
    };
    Ok(Names {
        uuid: uuid(&head(uuid_at, 16)?),
        label: text_of(&head(label_at, label_size)?),
        space,
    })
}

fn text_of(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

fn fat_names(sector: &[u8]) -> std::io::Result<Names> {
    // FAT32 has its fields further behind, as it has 32-bit sizes of its tables before them.
    let is_fat32 = LittleEndian::read_u16(&sector[0x16..]) == 0;
    let (id, label) = if is_fat32 { (0x43, 0x47) } else { (0x27, 0x2b) };
    let id = LittleEndian::read_u32(&sector[id..]);
    let label = text_of(&sector[label..label + 11]).filter(|label| label != "NO NAME");
    Ok(Names {
        uuid: Some(format!("{:04X}-{:04X}", id >> 16, id & 0xffff)),
        label,
        space: None,
    })
}

fn ext_space(superblock: &[u8]) -> Space {
    let u32_at = |at: usize| u64::from(LittleEndian::read_u32(&superblock[at..]));
    let block = 1_u64
        .checked_shl(10 + (u32_at(0x18).min(6)) as u32)
        .unwrap_or(1024);
    let is_64_bit = u32_at(0x60) & 0x80 != 0;
    let high = |at: usize| if is_64_bit { u32_at(at) << 32 } else { 0 };
    let (free, kept) = (u32_at(0x0c) | high(0x158), u32_at(0x08) | high(0x154));
    Space {
        free: free.saturating_sub(kept).saturating_mul(block),
        free_with_reserve: free.saturating_mul(block),
        free_inodes: u32_at(0x10),
    }
}

impl World for Volumes {
    fn stat(&self, place: &Place) -> Result<Option<Stat>, Unread> {
        let Some(tree) = self.tree(&place.device)? else {
            return Ok(None);
        };
        let meta = tree.meta(&place.path)?;
        Ok(meta.map(|meta| Stat {
            is_folder: meta.is_folder(),
            size: meta.size,
        }))
    }

    fn text(&self, place: &Place) -> Result<Option<String>, Unread> {
        match self.tree(&place.device)? {
            Some(tree) => tree.text(&place.path),
            None => Ok(None),
        }
    }

    fn list(&self, place: &Place) -> Result<Vec<String>, Unread> {
        match self.tree(&place.device)? {
            Some(tree) => tree.list(&place.path),
            None => Ok(Vec::new()),
        }
    }

    fn search(&self, by: SearchBy, wanted: &str) -> Result<Option<String>, Unread> {
        for volume in &self.all {
            let found = match by {
                SearchBy::Uuid => {
                    let uuid = volume.fs_uuid.as_deref();
                    uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted))
                }
                SearchBy::Label => volume.label.as_deref() == Some(wanted),
                SearchBy::File => match &volume.files {
                    Some(_) => match self.tree(&volume.grub)? {
                        Some(tree) => tree.exists(wanted)?,
                        None => false,
                    },
                    None => false,
                },
            };
            if found {
                return Ok(Some(volume.grub.clone()));
            }
        }
        Ok(None)
    }

    fn device(&self, name: &str) -> Option<String> {
        let name = name.trim_matches(['(', ')']);
        let part = match name.split_once(',') {
            Some(("hd0" | "", part)) => part,
            None if name == "hd0" => "0",
            _ => return None,
        };
        let number: u32 = part
            .trim_start_matches("gpt")
            .trim_start_matches("msdos")
            .parse()
            .ok()?;
        let volume = self.all.iter().find(|volume| volume.number == number)?;
        Some(volume.grub.clone())
    }

    fn shown(&self, place: &Place) -> String {
        match self.by_grub(&place.device) {
            Some(volume) => format!("{} of {}", place.path, volume.place()),
            None => format!("({}){}", place.device, place.path),
        }
    }
}
