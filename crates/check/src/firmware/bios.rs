//! Generation 1: the boot record, and the boot loader that it leads to.

use byteorder::{ByteOrder, LittleEndian};
use disk::Disk;

use super::grub_core::{self, Core};
use super::{GrubStart, Start};
use crate::context::Context;
use crate::partitions::{Layout, Role, Scheme};
use crate::report::Stage;
use crate::rules::firmware as rules;
use crate::volumes::Volumes;

const SECTOR: u64 = 512;
/// Where GRUB's boot code keeps the sector of its core.
const GRUB_SECTOR: usize = 0x5c;
/// GRUB's boot code has this text in it.
const GRUB_MARK: &[u8] = b"GRUB \0";
/// Largest core, in bytes.
const MAX_CORE: u64 = 8 << 20;
/// A list of sectors ends the first sector of the core, and grows towards its beginning.
const LIST_ENTRY: usize = 12;
const LIST_END: usize = 0x110;

pub(super) fn follow(layout: &Layout, volumes: &Volumes, context: &Context<'_>) -> Option<Start> {
    if layout.is_gpt() && layout.with_role(Role::BiosBoot).next().is_none() {
        context.find(
            &rules::BIOS_BOOT_PARTITION,
            "there is a GPT without the BIOS boot partition that generation 1 needs",
        );
    }
    let mut code = [0; 440];
    let readable = context.disk.read_exact_at(&mut code, 0).is_ok();
    if !readable || code.iter().all(|&byte| byte == 0) {
        context.find(
            &rules::BIOS_BOOT_CODE,
            "there is no boot code in the first sector, which generation 1 starts",
        );
        return None;
    }
    if !contains(&code, GRUB_MARK) {
        judge_other_code(layout, &code, context);
        return None;
    }
    let sector = LittleEndian::read_u64(&code[GRUB_SECTOR..]);
    let core = read_core(sector, layout, context)?;
    let Some(core) = grub_core::unpack(&core).and_then(|core| Core::read(&core, false)) else {
        context.find(
            &rules::GRUB_CORE_UNKNOWN,
            format!("GRUB's core at sector {sector} could not be unpacked; it may be damaged"),
        );
        return None;
    };
    context.followed(Stage::Firmware);
    context.evidence(
        Stage::Firmware,
        format!(
            "GRUB in the boot record, core at sector {sector}, prefix {}",
            core.prefix
        ),
    );
    Some(Start::Grub(GrubStart {
        platform: "pc",
        script: core.script,
        device: boot_device(sector, volumes),
        prefix: core.prefix,
        folder: String::new(),
        modules: core.modules,
        memdisk_script: core.memdisk_script,
    }))
}

/// The device that the core was read from, on which a prefix without one is.
fn boot_device(sector: u64, volumes: &Volumes) -> String {
    let at = sector.saturating_mul(SECTOR);
    let volume = volumes.iter().find(|volume| volume.contains(at));
    volume.map_or_else(|| "hd0".to_owned(), |volume| volume.grub.clone())
}

/// Boot code that is not GRUB's cannot be followed, but what it needs can be looked for.
fn judge_other_code(layout: &Layout, code: &[u8], context: &Context<'_>) {
    let starts_active = [&b"Missing operating system"[..], b"Invalid partition table"]
        .iter()
        .any(|text| contains(code, text));
    let has_active = layout
        .partitions
        .iter()
        .any(|partition| partition.is_active);
    if starts_active && matches!(layout.scheme, Scheme::Mbr) && !has_active {
        context.find(
            &rules::BIOS_ACTIVE,
            "the boot code starts the active partition, and no partition is marked as active",
        );
        return;
    }
    let name = match () {
        () if contains(code, b"LILO") => "LILO",
        () if starts_active => "code that starts the active partition",
        () => "code that is not known here",
    };
    context.find(
        &rules::BIOS_LOADER_UNKNOWN,
        format!("the first sector holds {name}, which is not followed"),
    );
}

/// The core behind its first sector, which holds the list of the others.
fn read_core(sector: u64, layout: &Layout, context: &Context<'_>) -> Option<Vec<u8>> {
    let read = |sector: u64, sectors: u64| {
        let offset = sector.checked_mul(SECTOR)?;
        let size = usize::try_from(sectors.checked_mul(SECTOR)?).ok()?;
        let mut bytes = vec![0; size];
        context.disk.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    };
    let lost = |what: &str| {
        context.find(
            &rules::GRUB_CORE,
            format!("the boot code starts GRUB's core at sector {sector}, and {what}"),
        );
        None
    };
    let Some(first) = read(sector, 1).filter(|_| sector > 0) else {
        return lost("this sector is not on the disk");
    };
    if first.iter().all(|&byte| byte == 0) {
        return lost("there are only zeros");
    }
    let mut core = Vec::new();
    for at in (LIST_END..=SECTOR as usize - LIST_ENTRY)
        .rev()
        .step_by(LIST_ENTRY)
    {
        let start = LittleEndian::read_u64(&first[at..]);
        let sectors = u64::from(LittleEndian::read_u16(&first[at + 8..]));
        if sectors == 0 {
            break;
        }
        if core.len() as u64 + sectors * SECTOR > MAX_CORE {
            return lost("its list of sectors is damaged");
        }
        match read(start, sectors) {
            Some(bytes) => core.extend(bytes),
            None => return lost("its list of sectors leads beyond the disk"),
        }
    }
    if core.iter().all(|&byte| byte == 0) {
        return lost("the sectors that it lists are empty");
    }
    judge_place(sector, layout, context);
    Some(core)
}

/// A core in the middle of a file system is lost when its file moves.
fn judge_place(sector: u64, layout: &Layout, context: &Context<'_>) {
    let at = sector.saturating_mul(SECTOR);
    let inside = layout
        .partitions
        .iter()
        .find(|p| p.number > 0 && (p.start..p.end).contains(&at));
    if let Some(partition) = inside.filter(|partition| partition.role != Role::BiosBoot) {
        let number = partition.number;
        context.find(
            &rules::GRUB_CORE_PLACE,
            format!("GRUB's core is in partition {number}, which is no BIOS boot partition"),
        );
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
