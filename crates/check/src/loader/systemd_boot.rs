//! systemd-boot: its entries, and the one that it starts by itself.
//!
//! Source: the manual of systemd-boot and loader.conf, and the Boot Loader Specification.

use std::cmp::Ordering;

use super::{Boot, nothing};
use crate::content::Content;
use crate::context::Context;
use crate::grub::{BlsEntry, Place, World, natural_order};
use crate::rules::loader as rules;
use crate::unread::Unread;
use crate::volumes::Volumes;

/// Partition type of an extended boot partition.
const XBOOTLDR: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";
const MAX_FILES: usize = 512;

struct Choice {
    id: String,
    entry: BlsEntry,
    boot: Boot,
}

/// Follows systemd-boot on the EFI system partition `device`.
pub(super) fn follow(
    device: &str,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<Vec<Boot>, Unread> {
    let mut choices = Vec::new();
    let others = volumes
        .iter()
        // It reads by the firmware's drivers, which know FAT only.
        .filter(|volume| {
            volume.part_type.as_deref() == Some(XBOOTLDR) && volume.content == Content::Fat
        })
        .map(|volume| volume.grub.clone());
    for device in [device.to_owned()].into_iter().chain(others) {
        choices.extend(entries(&device, volumes)?);
        choices.extend(unified(&device, volumes)?);
    }
    choices.sort_by(order);
    let at = |path: &str| Place {
        device: device.to_owned(),
        path: path.to_owned(),
        ..Place::default()
    };
    let text = volumes
        .text(&at("/loader/loader.conf"))?
        .unwrap_or_default();
    let setting = |key: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix([' ', '\t'])
                .map(str::trim)
        })
    };
    if setting("timeout") == Some("menu-force") {
        context.find_in(
            &rules::LOADER_STOPS,
            "/loader/loader.conf",
            "systemd-boot waits for a choice",
        );
        return nothing();
    }
    let default = setting("default");
    let chosen = default.and_then(|pattern| {
        choices
            .iter()
            .position(|choice| matches(pattern, &choice.id) || matches(pattern, &choice.entry.id))
    });
    if default.is_some_and(|default| default.starts_with('@')) {
        return Err(Unread::Script(
            "its default is what was chosen last".to_owned(),
        ));
    }
    let index = chosen.unwrap_or(0);
    if choices.is_empty() {
        context.find(&rules::LOADER_STOPS, "systemd-boot has no entry to start");
        return nothing();
    }
    Ok(vec![choices.swap_remove(index).boot])
}

fn entries(device: &str, volumes: &Volumes) -> Result<Vec<Choice>, Unread> {
    let at = |path: String| Place {
        device: device.to_owned(),
        path,
        ..Place::default()
    };
    let mut choices = Vec::new();
    let is_arm = volumes
        .stat(&at("/EFI/BOOT/BOOTAA64.EFI".to_owned()))?
        .is_some();
    let machine = if is_arm { "aa64" } else { "x64" };
    let folder = "/loader/entries";
    for name in volumes.list(&at(folder.to_owned()))?.iter().take(MAX_FILES) {
        if !name.to_ascii_lowercase().ends_with(".conf") {
            continue;
        }
        let place = at(format!("{folder}/{name}"));
        let Some(text) = volumes.text(&place)? else {
            continue;
        };
        let entry = BlsEntry::parse(&place.path, &text);
        let is_unified = entry.linux.is_empty() && !entry.efi.is_empty();
        let kernel = if is_unified { &entry.efi } else { &entry.linux };
        if kernel.is_empty() || !["", machine].contains(&entry.architecture.as_str()) {
            continue;
        }
        let file = volumes.shown(&place);
        let boot = Boot {
            kernel: at(normal(kernel)),
            cmdline: entry.options.clone(),
            initrds: entry.initrds.iter().map(|path| at(normal(path))).collect(),
            file,
            line: entry.line,
            is_unified,
        };
        choices.push(Choice {
            id: name.clone(),
            entry,
            boot,
        });
    }
    Ok(choices)
}

fn unified(device: &str, volumes: &Volumes) -> Result<Vec<Choice>, Unread> {
    let at = |path: String| Place {
        device: device.to_owned(),
        path,
        ..Place::default()
    };
    let mut choices = Vec::new();
    let folder = "/EFI/Linux";
    for name in volumes.list(&at(folder.to_owned()))?.iter().take(MAX_FILES) {
        if !name.to_ascii_lowercase().ends_with(".efi") {
            continue;
        }
        let place = at(format!("{folder}/{name}"));
        let entry = BlsEntry {
            id: name.clone(),
            ..BlsEntry::default()
        };
        let boot = Boot {
            file: volumes.shown(&place),
            kernel: place,
            is_unified: true,
            ..Boot::default()
        };
        choices.push(Choice {
            id: name.clone(),
            entry,
            boot,
        });
    }
    Ok(choices)
}

fn normal(path: &str) -> String {
    let path = path.replace('\\', "/");
    format!("/{}", path.trim_start_matches('/'))
}

/// Entries that failed before come last; those with a sort key first, then the newest.
fn order(a: &Choice, b: &Choice) -> Ordering {
    let by_failure = a.entry.is_bad().cmp(&b.entry.is_bad());
    let has_key = |choice: &Choice| choice.entry.sort_key.is_empty();
    let by_key = has_key(a)
        .cmp(&has_key(b))
        .then_with(|| a.entry.sort_key.cmp(&b.entry.sort_key));
    let by_version = natural_order(&b.entry.version, &a.entry.version);
    let by_id = natural_order(&b.entry.id, &a.entry.id);
    by_failure.then(by_key).then(by_version).then(by_id)
}

/// Whether a pattern with `*` and `?` fits a name, upper and lower case being the same.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    // The place to go on at where the last star has to take one more.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == '?' || c == name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("debian-*", "Debian-6.1.conf"));
        assert!(matches("*", "x"));
        assert!(matches("a?c*e", "abcdde"));
        assert!(!matches("debian", "debian-6.1.conf"));
        assert!(!matches("a*b", "ac"));
    }
}
