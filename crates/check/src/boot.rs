//! Whether a virtual machine of a generation finds something to boot.

use super::CheckError;
use super::content::Content;
use super::context::Context;
use super::esp::{self, Esp};
use super::partitions::{Layout, Partition, Role, Scheme};
use super::report::Generation;
use super::rules;
use super::unread::Unread;
use disk::Disk;
use disk::gpt::{MBR_SIZE, Mbr};

/// Judges what the firmware needs.
pub(super) fn judge(
    layout: &Layout,
    generation: Generation,
    context: &mut Context<'_>,
) -> Result<(), CheckError> {
    context.step("boot loader");
    // One finding says already that there is nothing to boot from.
    if matches!(layout.scheme, Scheme::None) && layout.partitions.is_empty() {
        return Ok(());
    }
    match generation {
        Generation::One => judge_bios(layout, context)?,
        Generation::Two => judge_efi(layout, context),
    }
    Ok(())
}

fn judge_bios(layout: &Layout, context: &mut Context<'_>) -> Result<(), CheckError> {
    let mbr = match &layout.scheme {
        Scheme::Mbr(mbr) => Some(**mbr),
        Scheme::Gpt(gpt) => Some(gpt.mbr),
        Scheme::None => first_sector(context)?,
    };
    if !mbr.is_some_and(|mbr| mbr.has_boot_code()) {
        context.find(
            &rules::BIOS_BOOT_CODE,
            "there is no boot code in the first sector, which generation 1 starts",
        );
    }
    if layout.is_gpt() && layout.with_role(Role::BiosBoot).next().is_none() {
        context.find(
            &rules::BIOS_BOOT_PARTITION,
            "there is a GPT without the BIOS boot partition that generation 1 needs",
        );
    }
    Ok(())
}

fn first_sector(context: &Context<'_>) -> Result<Option<Mbr>, CheckError> {
    let mut bytes = [0; MBR_SIZE];
    context.disk.read_exact_at(&mut bytes, 0)?;
    Ok(Mbr::decode(bytes))
}

fn judge_efi(layout: &Layout, context: &mut Context<'_>) {
    if !layout.is_gpt() {
        context.find(
            &rules::EFI_TABLE,
            "there is no GPT, which generation 2 needs",
        );
        return;
    }
    let partitions: Vec<&Partition> = layout.with_role(Role::EfiSystem).collect();
    if partitions.is_empty() {
        context.find(
            &rules::EFI_PARTITION,
            "there is no EFI system partition, which generation 2 boots from",
        );
        return;
    }
    let found: Vec<_> = partitions.iter().map(|esp| read(esp, context)).collect();
    let has_loader = |esp: &Result<Esp, Unread>| esp.as_ref().is_ok_and(|esp| esp.has_fallback);
    if found.iter().any(has_loader) {
        return;
    }
    for (partition, result) in partitions.iter().zip(found) {
        let number = partition.number;
        match result {
            Ok(esp) => context.find(
                &rules::EFI_LOADER,
                format!(
                    "the EFI system partition {number} has no `{}`, which a new machine starts; \
                     it has {}",
                    esp::FALLBACK_PATHS.join("` or `"),
                    esp.vendors_text()
                ),
            ),
            Err(reason) => context.find(
                &rules::EFI_UNREADABLE,
                format!("the EFI system partition {number} could not be read: {reason}"),
            ),
        }
    }
}

fn read(partition: &Partition, context: &Context<'_>) -> Result<Esp, Unread> {
    if partition.content != Content::Fat {
        return Err(Unread::NotFat(partition.content.name()));
    }
    Esp::read(partition.window(context))
}
