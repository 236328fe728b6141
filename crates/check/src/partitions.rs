//! The partition table of an image, and what is in the partitions.

mod table;

use std::io;

use super::content::Content;
use super::context::Context;
use super::metered::Window;
use super::report::Generation;
use super::rules::container as rules;
use disk::Disk;
use disk::gpt::{Gpt, TYPE_EFI_SYSTEM};
use table::{is_boot_sector, name_entries, of_mbr, of_table, read_mbr, whole_disk};

/// Sectors of a boot record, in bytes.
const SECTOR: u64 = 512;
/// Most partitions that are looked at, as many as Linux gives device numbers to.
const MAX_PARTITIONS: usize = 256;

/// Types as they stand in an entry, with the first three groups little-endian.
mod kind {
    use uuid::{Uuid, uuid};

    pub(crate) const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    pub(crate) const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
    pub(crate) const SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
    pub(crate) const LVM: Uuid = uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928");
    pub(crate) const RAID: Uuid = uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e");
    pub(crate) const MBR_SWAP: u8 = 0x82;
    pub(crate) const MBR_LVM: u8 = 0x8e;
    pub(crate) const MBR_RAID: u8 = 0xfd;
}

/// What the partition table says that a partition is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    EfiSystem,
    BiosBoot,
    Swap,
    Lvm,
    Raid,
    Other,
}

impl Role {
    fn of_type(bytes: [u8; 16]) -> Self {
        match uuid::Uuid::from_bytes_le(bytes) {
            kind::EFI_SYSTEM => Self::EfiSystem,
            kind::BIOS_BOOT => Self::BiosBoot,
            kind::SWAP => Self::Swap,
            kind::LVM => Self::Lvm,
            kind::RAID => Self::Raid,
            _ => Self::Other,
        }
    }

    fn of_mbr_type(kind: u8) -> Self {
        match kind {
            TYPE_EFI_SYSTEM => Self::EfiSystem,
            kind::MBR_SWAP => Self::Swap,
            kind::MBR_LVM => Self::Lvm,
            kind::MBR_RAID => Self::Raid,
            _ => Self::Other,
        }
    }
}

/// A partition, in bytes of the disk.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) number: u32,
    pub(crate) start: u64,
    /// Behind its last byte.
    pub(crate) end: u64,
    pub(crate) role: Role,
    pub(crate) content: Content,
    /// Whether the boot record marks it as active.
    pub(crate) is_active: bool,
    /// Its identifier, as `blkid` shows it.
    pub(crate) uuid: Option<String>,
    /// Its name in a GPT.
    pub(crate) label: Option<String>,
    /// Its type in a GPT.
    pub(crate) kind: Option<String>,
}

impl Partition {
    fn new(number: u32, first: u64, sectors: Option<u64>, sector_size: u64, role: Role) -> Self {
        let start = first.saturating_mul(sector_size);
        let size = sectors.unwrap_or(0).saturating_mul(sector_size);
        Self {
            number,
            start,
            end: start.saturating_add(size),
            role,
            content: Content::Unknown,
            is_active: false,
            uuid: None,
            label: None,
            kind: None,
        }
    }

    fn is_in(&self, disk_size: u64) -> bool {
        self.start < self.end && self.end <= disk_size
    }

    /// The partition as a disk of its own.
    pub(crate) fn window(&self, context: &Context<'_>) -> Window {
        Window::new(&context.disk, self.start, self.end - self.start)
    }
}

/// How a disk is divided.
#[derive(Debug)]
pub(crate) enum Scheme {
    /// No partition table.
    None,
    /// A boot record alone.
    Mbr,
    /// A GPT, of which at least the boot record is there.
    Gpt(Box<Gpt>),
}

/// The partition table and the partitions in it.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) scheme: Scheme,
    /// Those that lie on the disk, in the order of the table. Without a table, the whole disk
    /// where it holds something known.
    pub(crate) partitions: Vec<Partition>,
    /// Those that do not.
    strays: Vec<Partition>,
}

impl Layout {
    /// Reads the table and the signatures in each partition.
    pub(crate) fn read(context: &Context<'_>) -> io::Result<Self> {
        let disk = &*context.disk;
        let whole = Window::new(&context.disk, 0, disk.size());
        let (scheme, all) = match (Gpt::read(disk)?, read_mbr(disk, 0)?) {
            (Some(gpt), _) => {
                let mut partitions = match gpt.table() {
                    Some(table) => of_table(table, gpt.sector_size),
                    None => Vec::new(),
                };
                if let Some(table) = gpt.table() {
                    name_entries(disk, table, gpt.sector_size, &mut partitions)?;
                }
                (Scheme::Gpt(Box::new(gpt)), partitions)
            }
            (None, Some(mbr)) if !is_boot_sector(&mbr, &whole)? => {
                let partitions = of_mbr(disk, &mbr)?;
                (Scheme::Mbr, partitions)
            }
            _ => (Scheme::None, whole_disk(&whole)?),
        };
        let (mut partitions, strays): (Vec<_>, Vec<_>) = all
            .into_iter()
            .take(MAX_PARTITIONS)
            .partition(|partition| partition.is_in(disk.size()));
        for partition in &mut partitions {
            partition.content = Content::probe(&partition.window(context))?;
        }
        Ok(Self {
            scheme,
            partitions,
            strays,
        })
    }

    pub(crate) fn is_gpt(&self) -> bool {
        matches!(self.scheme, Scheme::Gpt(_))
    }

    /// Table, partitions and size in words.
    pub(crate) fn in_words(&self, size: u64) -> String {
        let table = match &self.scheme {
            Scheme::None => "no partition table",
            Scheme::Mbr => "MBR",
            Scheme::Gpt(_) => "GPT",
        };
        format!(
            "{table}, {} partitions, {} MiB",
            self.partitions.len(),
            size >> 20
        )
    }

    /// Whether there is a partition table.
    pub(crate) fn is_divided(&self) -> bool {
        !matches!(self.scheme, Scheme::None)
    }

    /// The partitions of a role.
    pub(crate) fn with_role(&self, role: Role) -> impl Iterator<Item = &Partition> {
        self.partitions
            .iter()
            .filter(move |partition| partition.role == role)
    }

    /// The generation that the disk looks like: 2 with a GPT and an EFI system partition.
    pub(crate) fn generation(&self) -> Generation {
        if self.is_gpt() && self.with_role(Role::EfiSystem).next().is_some() {
            Generation::Two
        } else {
            Generation::One
        }
    }

    /// Judges the table, and for an OS disk what is in the partitions.
    pub(crate) fn judge(&self, context: &Context<'_>) {
        match &self.scheme {
            Scheme::Gpt(gpt) => judge_gpt(gpt, context),
            Scheme::Mbr => {}
            Scheme::None if context.options.data_disk => {}
            Scheme::None => self.judge_no_table(context),
        }
        self.judge_ranges(context);
        if !context.options.data_disk {
            self.judge_contents(context);
        }
    }

    fn judge_no_table(&self, context: &Context<'_>) {
        match self.partitions.first() {
            Some(whole) => context.find(
                &rules::TABLE_FILE_SYSTEM,
                format!(
                    "{} stands directly on the disk, without a partition table",
                    whole.content.name()
                ),
            ),
            None => context.find(
                &rules::TABLE_MISSING,
                "there is neither a partition table nor a known file system",
            ),
        }
    }

    fn judge_ranges(&self, context: &Context<'_>) {
        let size = context.disk.size();
        for stray in &self.strays {
            context.find(
                &rules::PARTITION_RANGE,
                format!(
                    "partition {} is at bytes {} to {}, and the disk has {size}",
                    stray.number, stray.start, stray.end
                ),
            );
        }
        let mut sorted: Vec<_> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.start);
        let mut furthest: Option<&Partition> = None;
        for next in sorted {
            match furthest {
                Some(before) if next.start < before.end => context.find(
                    &rules::PARTITION_OVERLAP,
                    format!("partitions {} and {} overlap", before.number, next.number),
                ),
                _ => {}
            }
            if furthest.is_none_or(|before| next.end > before.end) {
                furthest = Some(next);
            }
        }
    }

    fn judge_contents(&self, context: &Context<'_>) {
        for partition in &self.partitions {
            let (rule, what) = match (partition.content, partition.role) {
                (Content::Luks, _) => (&rules::LUKS, "is encrypted with LUKS"),
                (Content::Lvm, _) | (Content::Unknown, Role::Lvm) => {
                    (&rules::LVM, "is an LVM volume")
                }
                (Content::Raid, _) | (Content::Unknown, Role::Raid) => {
                    (&rules::RAID, "is a RAID member")
                }
                (Content::Swap, _) | (_, Role::Swap) => (&rules::SWAP_PARTITION, "is swap space"),
                _ => continue,
            };
            let number = partition.number;
            context.find(rule, format!("partition {number} of the OS disk {what}"));
        }
    }
}

fn judge_gpt(gpt: &Gpt, context: &Context<'_>) {
    if gpt.sector_size != SECTOR {
        let rule = if context.options.data_disk {
            &rules::TABLE_4KN_DATA
        } else {
            &rules::TABLE_4KN
        };
        let found = gpt.sector_size;
        context.find(
            rule,
            format!("the GPT counts in sectors of {found} bytes, and Azure's disks have {SECTOR}"),
        );
    }
    let primary = match &gpt.primary {
        Ok(primary) => primary,
        Err(damage) => {
            context.find(
                &rules::GPT_DAMAGED,
                format!("the primary GPT is damaged: {damage}"),
            );
            return;
        }
    };
    let last = (context.disk.size() / gpt.sector_size).saturating_sub(1);
    let found = primary.header.alternate_lba;
    if found != last {
        context.find(
            &rules::GPT_BACKUP_POSITION,
            format!("the backup GPT belongs in the last sector, {last}, and is at sector {found}"),
        );
    }
    match &gpt.backup {
        Err(damage) => context.find(
            &rules::GPT_BACKUP_DAMAGED,
            format!("the backup GPT is damaged: {damage}"),
        ),
        Ok(backup) if !primary.agrees_with(backup) => context.find(
            &rules::GPT_COPIES,
            "the two copies of the GPT are valid and say different things",
        ),
        Ok(_) => {}
    }
}
