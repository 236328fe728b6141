//! The root file system that the kernel's command line names.

use crate::content::Content;
use crate::context::Context;
use crate::loader::Boot;
use crate::mount_options::{self, Refusal};
use crate::report::Stage;
use crate::rules::Rule;
use crate::rules::cmdline as rules;
use crate::volumes::{Named, Volume, Volumes};

use super::{has_word, last, values};

/// Targets and words with which a machine ends in a shell of its administrator.
const RESCUE_WORDS: [&str; 10] = [
    "single",
    "s",
    "S",
    "1",
    "-s",
    "emergency",
    "-b",
    "rescue",
    "rd.emergency",
    "rd.rescue",
];
const RESCUE_TARGETS: [&str; 6] = [
    "rescue.target",
    "emergency.target",
    "rescue",
    "emergency",
    "poweroff.target",
    "halt.target",
];
/// Modules without which a machine in Azure has no disk or no network.
const NEEDED_MODULES: [&str; 3] = ["hv_vmbus", "hv_storvsc", "hv_netvsc"];

/// What the kernel calls to find disks, networks and file systems in Azure.
const NEEDED_CALLS: [&str; 8] = [
    "hv_acpi_init",
    "storvsc_drv_init",
    "netvsc_drv_init",
    "init_scsi",
    "init_sd",
    "ext4_init_fs",
    "init_xfs_fs",
    "init_btrfs_fs",
];

/// What the command line says of the root file system.
pub(crate) enum Root<'v> {
    /// It is on this volume.
    On(&'v Volume),
    /// There is no `root=`.
    Unnamed,
    /// It cannot be found; there is a finding.
    Lost,
}

/// Judges the command line, and finds the root file system that it names.
pub(crate) fn follow<'v>(
    boot: &Boot,
    cmdline: &str,
    volumes: &'v Volumes,
    context: &Context<'_>,
) -> Root<'v> {
    let find = |rule: &Rule, message: String| {
        context.find_at(rule, &boot.file, boot.line, message);
    };
    judge_words(cmdline, &find);
    let Some(name) = last(cmdline, "root").filter(|name| !name.is_empty()) else {
        return Root::Unnamed;
    };
    // Without an initial RAM disk the kernel looks itself, and not letter by letter.
    let lower = name.to_ascii_lowercase();
    let name = match name.strip_prefix("PARTUUID=") {
        Some(_) if boot.initrds.is_empty() => &name.replace(&name[9..], &lower[9..]),
        _ => name,
    };
    let root = resolve(name, "root=", volumes, &find);
    if let Root::On(volume) = root {
        let flags = last(cmdline, "rootflags").unwrap_or_default().split(',');
        if let Some((flag, refusal)) = mount_options::refused(volume.content, flags) {
            let found = volume.content.name();
            let (rule, does) = match refusal {
                Refusal::Sure => (&rules::ROOT_FLAGS, "refuses"),
                Refusal::Unsure => (&rules::ROOT_FLAGS_UNKNOWN, "may refuse"),
            };
            find(
                rule,
                format!("`rootflags=` has `{flag}`, which {found} {does}"),
            );
        }
        let kind = last(cmdline, "rootfstype").unwrap_or_default();
        if !kind.is_empty() && !kind.split(',').any(|kind| is_kind(kind, volume.content)) {
            let found = volume.content.name();
            find(
                &rules::ROOT_TYPE,
                format!(
                    "`rootfstype={kind}` is given, and {} holds {found}",
                    volume.place()
                ),
            );
        }
        context.evidence(Stage::Cmdline, format!("root={name} is {}", volume.place()));
    }
    root
}

/// Finds the file system of a name, and reports where that cannot be done.
pub(crate) fn resolve<'v>(
    name: &str,
    what: &str,
    volumes: &'v Volumes,
    find: &dyn Fn(&Rule, String),
) -> Root<'v> {
    match volumes.named(name) {
        Named::Found(volume) => match volume.content {
            Content::Lvm | Content::Luks | Content::Raid => {
                let found = volume.content.name();
                find(
                    &rules::ROOT_HIDDEN,
                    format!("`{what}{name}` is {}, which holds {found}", volume.place()),
                );
                Root::Lost
            }
            Content::Swap | Content::Unknown | Content::Ntfs => {
                let found = volume.content.name();
                find(
                    &rules::ROOT_MISSING,
                    format!(
                        "`{what}{name}` is {}, which holds no file system of Linux ({found})",
                        volume.place()
                    ),
                );
                Root::Lost
            }
            _ => Root::On(volume),
        },
        Named::Missing => {
            let hint = volumes.other_spelling(name);
            find(
                &rules::ROOT_MISSING,
                format!("`{what}{name}` names no file system of this image{hint}"),
            );
            Root::Lost
        }
        Named::Unknown(why) => {
            find(
                &rules::ROOT_HIDDEN,
                format!("`{what}{name}` could not be followed: {why}"),
            );
            Root::Lost
        }
        Named::NoDevice => {
            find(
                &rules::ROOT_HIDDEN,
                format!("`{what}{name}` is no device, and was not followed"),
            );
            Root::Lost
        }
    }
}

/// Least memory with which a system comes up, in bytes.
const LEAST_MEMORY: u64 = 192 << 20;

fn judge_words(cmdline: &str, find: &dyn Fn(&Rule, String)) {
    let words = RESCUE_WORDS.iter().find(|word| has_word(cmdline, word));
    let target = ["systemd.unit", "rd.systemd.unit"]
        .iter()
        .filter_map(|name| last(cmdline, name))
        .find(|target| RESCUE_TARGETS.contains(target));
    let stops = ["break", "rd.break", "rdinit_stop", "systemd.run"]
        .iter()
        .find(|word| has_word(cmdline, word) || last(cmdline, word).is_some());
    if let Some(word) = words.copied().or(target).or(stops.copied()) {
        find(
            &rules::CMDLINE_RESCUE,
            format!("`{word}` on the command line ends in a shell, and not in the system"),
        );
    }
    if last(cmdline, "acpi") == Some("off") {
        find(
            &rules::CMDLINE_HYPERV,
            "`acpi=off` is on the command line, and Hyper-V's bus is found by ACPI".to_owned(),
        );
    }
    judge_calls(cmdline, find);
    if let Some(state) = last(cmdline, "systemd.volatile")
        && !matches!(state, "no" | "0" | "off" | "false")
    {
        let message = format!(
            "`systemd.volatile={state}` leaves out what the system has, and was not followed"
        );
        find(&rules::CMDLINE_VOLATILE, message);
    }
    if has_word(cmdline, "nomodule") {
        let message = "`nomodule` on the command line keeps every module from being loaded";
        find(&rules::CMDLINE_BLACKLIST, message.to_owned());
    }
    if let Some(limit) = last(cmdline, "mem")
        && memory(limit).is_some_and(|bytes| bytes < LEAST_MEMORY)
    {
        let message = format!("`mem={limit}` leaves too little memory to start a system");
        find(&rules::CMDLINE_MEMORY, message);
    }
    for list in [
        "modprobe.blacklist",
        "module_blacklist",
        "rd.driver.blacklist",
    ] {
        let values = cmdline
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        for (_, value) in values.filter(|(name, _)| *name == list) {
            let blocked = value.split(',').map(|module| module.replace('-', "_"));
            for module in blocked.filter(|module| NEEDED_MODULES.contains(&module.as_str())) {
                find(
                    &rules::CMDLINE_BLACKLIST,
                    format!("`{list}=` on the command line keeps `{module}` from being loaded"),
                );
            }
        }
    }
}

/// Judges which parts of the kernel are not started.
fn judge_calls(cmdline: &str, find: &dyn Fn(&Rule, String)) {
    let calls = values(cmdline, "initcall_blacklist").flat_map(|list| list.split(','));
    for call in calls {
        if NEEDED_CALLS.contains(&call) {
            let message = format!(
                "`initcall_blacklist=` on the command line keeps `{call}` from being called"
            );
            find(&rules::CMDLINE_HYPERV, message);
        } else if !call.contains("algif") {
            let message = format!("what the machine is without `{call}` is not known");
            find(&rules::CMDLINE_CALLS, message);
        }
    }
}

/// A number of bytes as the kernel reads it, with a suffix for powers of 1024.
fn memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Whether a type of file system is that of a content.
pub(crate) fn is_kind(kind: &str, content: Content) -> bool {
    match content {
        Content::Ext => matches!(kind, "ext2" | "ext3" | "ext4" | "auto"),
        Content::Xfs => matches!(kind, "xfs" | "auto"),
        Content::Btrfs => matches!(kind, "btrfs" | "auto"),
        Content::Fat => matches!(kind, "vfat" | "msdos" | "umsdos" | "auto"),
        Content::Swap => kind == "swap",
        Content::Squashfs => matches!(kind, "squashfs" | "auto"),
        Content::Erofs => matches!(kind, "erofs" | "auto"),
        Content::F2fs => matches!(kind, "f2fs" | "auto"),
        Content::Iso9660 => matches!(kind, "iso9660" | "auto"),
        _ => true,
    }
}
