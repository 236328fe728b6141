//! Generation 2: the EFI system partition, and the program that a new machine starts from it.

use super::grub_core::Core;
use super::pe::{Loader, Program};
use super::secure_boot::{self, Starter};
use super::{GrubStart, Start};
use crate::content::Content;
use crate::context::Context;
use crate::files::Tree;
use crate::grub::Place;
use crate::partitions::{Layout, Role};
use crate::report::Stage;
use crate::rules::firmware as rules;
use crate::unread::{Unread, contained};
use crate::volumes::{Volume, Volumes};

/// Where firmware without boot entries of its own looks for a loader (UEFI Specification 2.10,
/// section 3.5.1.1), with machine type and the name of shim's next stage, on the two
/// architectures that Azure has.
const FALLBACKS: [Fallback; 2] = [
    Fallback {
        path: "/EFI/BOOT/BOOTX64.EFI",
        machine: 0x8664,
        suffix: "x64",
    },
    Fallback {
        path: "/EFI/BOOT/BOOTAA64.EFI",
        machine: ARM,
        suffix: "aa64",
    },
];

/// Machine type of Arm64.
const ARM: u16 = 0xaa64;
/// Largest program that is read, in bytes: unified kernels are the largest.
const MAX_PROGRAM: u64 = 256 << 20;

struct Fallback {
    path: &'static str,
    machine: u16,
    suffix: &'static str,
}

pub(super) fn follow(layout: &Layout, volumes: &Volumes, context: &Context<'_>) -> Option<Start> {
    if !layout.is_gpt() {
        context.find(
            &rules::EFI_TABLE,
            "there is no GPT, which generation 2 needs",
        );
        return None;
    }
    let partitions: Vec<_> = volumes
        .iter()
        .filter(|volume| volume.role == Role::EfiSystem)
        .collect();
    if partitions.is_empty() {
        context.find(
            &rules::EFI_PARTITION,
            "there is no EFI system partition, which generation 2 boots from",
        );
        return None;
    }
    let mut problems = Vec::new();
    for esp in partitions {
        match contained(|| fallback_of(esp, volumes)) {
            Ok(Some((fallback, tree))) => return started(esp, fallback, &tree, context),
            Ok(None) => problems.push((esp, None)),
            Err(reason) => problems.push((esp, Some(reason))),
        }
    }
    for (esp, reason) in problems {
        report_missing(esp, reason, volumes, context);
    }
    None
}

/// The program that a new machine starts from a partition, where there is one.
fn fallback_of(
    esp: &Volume,
    volumes: &Volumes,
) -> Result<Option<(&'static Fallback, std::rc::Rc<Tree>)>, Unread> {
    if esp.content != Content::Fat {
        return Err(Unread::NotFat(esp.content.name()));
    }
    let tree = volumes.tree(&esp.grub)?.ok_or(Unread::Missing)?;
    for fallback in &FALLBACKS {
        if tree.is_file(fallback.path)? {
            return Ok(Some((fallback, tree)));
        }
    }
    Ok(None)
}

fn report_missing(esp: &Volume, reason: Option<Unread>, volumes: &Volumes, context: &Context<'_>) {
    let number = esp.number;
    if let Some(reason) = reason {
        context.find(
            &rules::EFI_UNREADABLE,
            format!("the EFI system partition {number} could not be read: {reason}"),
        );
        return;
    }
    let folders = contained(|| match volumes.tree(&esp.grub)? {
        Some(tree) => tree.list("/EFI"),
        None => Ok(Vec::new()),
    });
    let folders = folders.unwrap_or_default();
    let folders = match folders.is_empty() {
        true => "no folder below `/EFI`".to_owned(),
        false => format!("the folders {}", folders.join(", ")),
    };
    let paths = FALLBACKS.map(|fallback| fallback.path).join("` or `");
    context.find(
        &rules::EFI_LOADER,
        format!(
            "the EFI system partition {number} has no `{paths}`, which a new machine starts; \
             it has {folders}"
        ),
    );
}

fn started(esp: &Volume, fallback: &Fallback, tree: &Tree, context: &Context<'_>) -> Option<Start> {
    let result = contained(|| start(esp, fallback, fallback.path, tree, context, 0));
    result.unwrap_or_else(|reason| {
        context.find_in(
            &rules::EFI_UNREADABLE,
            fallback.path,
            format!("the program that a new machine starts could not be read: {reason}"),
        );
        None
    })
}

fn start(
    esp: &Volume,
    fallback: &Fallback,
    path: &str,
    tree: &Tree,
    context: &Context<'_>,
    depth: u32,
) -> Result<Option<Start>, Unread> {
    let Some(bytes) = tree.bytes(path, MAX_PROGRAM)? else {
        context.find_in(
            &rules::EFI_NEXT,
            path,
            format!("shim starts `{path}`, and there is no such file"),
        );
        return Ok(None);
    };
    let program = match Program::read(&bytes) {
        Ok(program) => program,
        Err(why) => {
            context.find_in(
                &rules::EFI_PROGRAM,
                path,
                format!("`{path}` cannot be started: {why}"),
            );
            return Ok(None);
        }
    };
    if program.machine != fallback.machine {
        context.find_in(
            &rules::EFI_PROGRAM,
            path,
            format!(
                "`{path}` is for the machine type {:#06x}, and {:#06x} is required",
                program.machine, fallback.machine
            ),
        );
        return Ok(None);
    }
    context.is_arm.set(fallback.machine == ARM);
    let starter = match depth {
        0 => Starter::Firmware,
        _ => Starter::Shim,
    };
    let unsigned = &rules::SECURE_BOOT_UNSIGNED;
    secure_boot::judge(path, &bytes, &program, starter, unsigned, context);
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    match program.loader {
        Loader::Shim if depth == 0 => {
            let next = next_of_shim(folder, fallback, tree)?;
            start(esp, fallback, &next, tree, context, 1)
        }
        Loader::Grub => Ok(grub(esp, path, folder, &bytes, &program, context)),
        Loader::SystemdBoot => {
            found(path, "systemd-boot", context);
            Ok(Some(Start::SystemdBoot {
                device: esp.grub.clone(),
            }))
        }
        Loader::UnifiedKernel => {
            found(path, "a unified kernel image", context);
            let place = Place {
                device: esp.grub.clone(),
                path: path.to_owned(),
                ..Place::default()
            };
            Ok(Some(Start::UnifiedKernel(place)))
        }
        Loader::Shim | Loader::Kernel | Loader::Other => {
            context.find_in(
                &rules::EFI_LOADER_UNKNOWN,
                path,
                format!("`{path}` is a boot loader that is not known here, and not followed"),
            );
            Ok(None)
        }
    }
}

fn found(path: &str, what: &str, context: &Context<'_>) {
    context.followed(Stage::Firmware);
    context.evidence(Stage::Firmware, format!("{path}, {what}"));
}

/// What shim starts: the loader beside it, or what its fallback program finds.
///
/// From the removable path with a fallback program beside it, shim starts that, which takes the
/// loaders that the files `BOOTX64.CSV` of the distributions name. SUSE has names of its own:
/// `fallback.efi`, `boot.csv` and `grub.efi`.
fn next_of_shim(folder: &str, fallback: &Fallback, tree: &Tree) -> Result<String, Unread> {
    let Fallback { suffix, .. } = fallback;
    let grub_in = |folder: &str| -> Result<String, Unread> {
        let usual = format!("{folder}/grub{suffix}.efi");
        let of_suse = format!("{folder}/grub.efi");
        let is_suse = !tree.is_file(&usual)? && tree.is_file(&of_suse)?;
        Ok(if is_suse { of_suse } else { usual })
    };
    let fallbacks = [
        format!("{folder}/fb{suffix}.efi"),
        format!("{folder}/fallback.efi"),
    ];
    if !tree.exists_any(&fallbacks.each_ref().map(String::as_str))? {
        return grub_in(folder);
    }
    for name in tree.list("/EFI")? {
        let folder = format!("/EFI/{name}");
        if name.eq_ignore_ascii_case("BOOT") {
            continue;
        }
        let lists = [
            format!("{folder}/BOOT{}.CSV", suffix.to_ascii_uppercase()),
            format!("{folder}/BOOT.CSV"),
        ];
        let list = tree.first_of(&lists.each_ref().map(String::as_str))?;
        if let Some(list) = list
            && let Some(bytes) = tree.bytes(list, 1 << 16)?
        {
            let units: Vec<u16> = bytes
                .chunks_exact(2)
                .map(|b| u16::from_le_bytes([b[0], b[1]]))
                .collect();
            let text = String::from_utf16_lossy(&units);
            let loader = text
                .trim_start_matches('\u{feff}')
                .split(',')
                .next()
                .unwrap_or_default();
            if tree.is_file(&format!("{folder}/{loader}"))? {
                return grub_in(&folder);
            }
        }
    }
    grub_in(folder)
}

fn grub(
    esp: &Volume,
    path: &str,
    folder: &str,
    bytes: &[u8],
    program: &Program,
    context: &Context<'_>,
) -> Option<Start> {
    let built_in = program.section(bytes, "mods").unwrap_or(bytes);
    let Some(core) = Core::read(built_in, true) else {
        context.find_in(
            &rules::GRUB_CORE_UNKNOWN,
            path,
            format!("what is built into GRUB in `{path}` could not be read"),
        );
        return None;
    };
    found(path, &format!("GRUB, prefix {}", core.prefix), context);
    Some(Start::Grub(GrubStart {
        platform: "efi",
        script: core.script,
        device: esp.grub.clone(),
        prefix: core.prefix,
        folder: format!("({}){folder}", esp.grub),
        modules: core.modules,
        memdisk_script: core.memdisk_script,
    }))
}
