//! Entries after the Boot Loader Specification, as Fedora's GRUB and systemd-boot read them.

use std::cmp::Ordering;
use std::rc::Rc;

use super::exec::{Machine, MenuEntry};
use super::parse;
use super::world::Place;
use crate::unread::Unread;

/// Most files of entries.
const MAX_FILES: usize = 512;

/// An entry of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct BlsEntry {
    /// Name of the file without its ending.
    pub(crate) id: String,
    /// Path of the file.
    pub(crate) path: String,
    /// Title.
    pub(crate) title: String,
    /// Version and sort key, by which entries are ordered.
    pub(crate) version: String,
    /// As above.
    pub(crate) sort_key: String,
    /// Path of the kernel.
    pub(crate) linux: String,
    /// Path of a program for UEFI, in place of a kernel.
    pub(crate) efi: String,
    /// Paths of the initial RAM disks.
    pub(crate) initrds: Vec<String>,
    /// The machine that it is for, empty for any.
    pub(crate) architecture: String,
    /// The kernel's command line.
    pub(crate) options: String,
    /// Line of the kernel in the file, from 1.
    pub(crate) line: u32,
}

impl BlsEntry {
    /// Reads an entry.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut entry = Self {
            id: name.trim_end_matches(".conf").to_owned(),
            path: path.to_owned(),
            ..Self::default()
        };
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim();
            match key {
                "title" => entry.title = value.to_owned(),
                "version" => entry.version = value.to_owned(),
                "architecture" => entry.architecture = value.to_ascii_lowercase(),
                "sort-key" => entry.sort_key = value.to_owned(),
                "linux" => (entry.linux, entry.line) = (value.to_owned(), number),
                "efi" | "uki" => (entry.efi, entry.line) = (value.to_owned(), number),
                "initrd" => entry
                    .initrds
                    .extend(value.split_whitespace().map(str::to_owned)),
                "options" => {
                    let glue = if entry.options.is_empty() { "" } else { " " };
                    entry.options.push_str(glue);
                    entry.options.push_str(value);
                }
                _ => {}
            }
        }
        entry
    }

    /// Whether the counter in its name says that all tries failed.
    pub(crate) fn is_bad(&self) -> bool {
        let counter = self.id.rsplit_once('+').map(|(_, counter)| counter);
        counter.is_some_and(|counter| counter.split('-').next() == Some("0"))
    }
}

/// Adds the entries of the files to the menu, the newest first.
pub(super) fn add_entries(machine: &mut Machine<'_>) -> Result<bool, Unread> {
    let mut found = Vec::new();
    for folder in ["/loader/entries", "/boot/loader/entries"] {
        let folder = machine.place(folder);
        if machine.world.stat(&folder)?.is_none() {
            continue;
        }
        for name in machine.world.list(&folder)?.iter().take(MAX_FILES) {
            if !name.ends_with(".conf") {
                continue;
            }
            let path = format!("{}/{name}", folder.path);
            let place = Place {
                device: folder.device.clone(),
                path,
                is_relative: folder.is_relative,
            };
            if let Some(text) = machine.world.text(&place)? {
                found.push((
                    BlsEntry::parse(&place.path, &text),
                    machine.world.shown(&place),
                ));
            }
        }
        break;
    }
    found.sort_by(|a, b| natural_order(&b.0.id, &a.0.id));
    for (entry, shown) in found {
        add(machine, &entry, &shown);
    }
    Ok(true)
}

/// Adds an entry as Fedora's GRUB writes it: variables in it are put in when it runs.
fn add(machine: &mut Machine<'_>, entry: &BlsEntry, shown: &str) {
    let initrds = entry.initrds.join(" ");
    let mut script = format!("linux {} {}\n", entry.linux, entry.options);
    if !initrds.is_empty() {
        script.push_str(&format!("initrd {initrds}\n"));
    }
    let Ok(body) = parse::parse(&script) else {
        machine.trouble(format!("`{}` cannot be understood", entry.path));
        return;
    };
    machine.entries.push(MenuEntry::of_bls(
        &entry.title,
        &entry.id,
        Rc::new(body),
        shown.into(),
        entry.line,
    ));
}

/// Compares names with the numbers in them as numbers: 5.9 before 5.14.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while let (Some(first_a), Some(first_b)) = (a.chars().next(), b.chars().next()) {
        let digits = first_a.is_ascii_digit() && first_b.is_ascii_digit();
        let (run_a, run_b) = if digits {
            (digit_run(a), digit_run(b))
        } else {
            (first_a.len_utf8(), first_b.len_utf8())
        };
        let (x, y) = (&a[..run_a], &b[..run_b]);
        let order = if digits {
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[run_a..], &b[run_b..]);
    }
    a.len().cmp(&b.len())
}

fn digit_run(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}
