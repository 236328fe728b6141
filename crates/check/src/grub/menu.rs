//! The entry that GRUB starts without anybody's choice.
//!
//! Source: the GRUB manual, "default", "fallback", "timeout", and `grub-core/normal/menu.c`.

use super::exec::{Flow, Loaded, Machine, MenuEntry};
use crate::unread::Unread;

/// Deepest nesting of menus.
const MAX_MENUS: u32 = 8;

/// What a boot loader comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It starts these, the first that can be loaded.
    Starts(Vec<Loaded>),
    /// It waits for somebody, or stops.
    Stops {
        /// Why.
        why: String,
        /// File of the cause.
        file: String,
        /// Line of the cause, from 1.
        line: u32,
    },
    /// It opens the menu of an entry after its time has run out, and waits in it.
    Submenu {
        /// Title of the entry.
        title: String,
        /// What would be started there.
        first: Vec<Loaded>,
        /// File of the entry.
        file: String,
        /// Line of the entry, from 1.
        line: u32,
    },
}

/// Follows what the machine's menu, or what it has loaded without one, leads to.
pub(crate) fn outcome(machine: &mut Machine<'_>) -> Result<Outcome, Unread> {
    if machine.entries.is_empty() {
        return Ok(match machine.loaded.take() {
            Some(loaded) => Outcome::Starts(vec![loaded]),
            None => stops(machine, "it has no entry to start, and waits at its prompt"),
        });
    }
    if waits_for_ever(machine) {
        return Ok(stops(
            machine,
            "its timeout is negative or not set, so it waits for a choice",
        ));
    }
    let default = machine.get("default").to_owned();
    let first = choose(&machine.entries, &default);
    if let Some(entry) = machine.entries.get(first).cloned()
        && entry.is_locked
    {
        machine.line = entry.line;
        return Ok(stops(machine, "the default entry asks for a password"));
    }
    let by_path = default.contains('>');
    let instant = machine.get("timeout").trim() == "0";
    let (mut loaded, submenu) = run(
        machine,
        first,
        default.split_once('>').map(|(_, rest)| rest),
        0,
    )?;
    for index in fallbacks(machine) {
        loaded.extend(run(machine, index, None, 0)?.0);
    }
    Ok(match submenu {
        Some(entry) if !by_path && !instant => Outcome::Submenu {
            title: entry.title,
            first: loaded,
            file: entry.file.to_string(),
            line: entry.line,
        },
        _ if loaded.is_empty() => stops(machine, "the default entry loads no kernel"),
        _ => Outcome::Starts(loaded),
    })
}

fn stops(machine: &Machine<'_>, why: &str) -> Outcome {
    Outcome::Stops {
        why: why.to_owned(),
        file: machine.file.to_string(),
        line: machine.line,
    }
}

/// Without a timeout the menu waits; so it does with a negative one.
fn waits_for_ever(machine: &Machine<'_>) -> bool {
    let timeout = machine.get("timeout").trim();
    timeout.parse::<i64>().map_or(true, |seconds| seconds < 0)
}

/// Place of the entry that a default names; the first where it names none.
fn choose(entries: &[MenuEntry], default: &str) -> usize {
    let wanted = default.split('>').next().unwrap_or_default();
    if let Ok(index) = wanted.trim().parse::<usize>() {
        return if index < entries.len() { index } else { 0 };
    }
    let named = |entry: &MenuEntry| entry.id.as_deref() == Some(wanted) || entry.title == wanted;
    entries.iter().position(named).unwrap_or(0)
}

fn fallbacks(machine: &Machine<'_>) -> Vec<usize> {
    let fallback = machine.get("fallback");
    let indexes = fallback
        .split([' ', ','])
        .filter_map(|index| index.parse().ok());
    indexes
        .filter(|&index| index < machine.entries.len())
        .take(8)
        .collect()
}

/// Runs an entry; the menu that it opens counts as `rest` says, or with its first entry.
fn run(
    machine: &mut Machine<'_>,
    index: usize,
    rest: Option<&str>,
    depth: u32,
) -> Result<(Vec<Loaded>, Option<MenuEntry>), Unread> {
    let Some(entry) = machine.entries.get(index).cloned() else {
        return Ok((Vec::new(), None));
    };
    let menu = std::mem::take(&mut machine.entries);
    machine.loaded = None;
    let flow = machine.run_entry(&entry)?;
    let mut loaded: Vec<_> = machine.loaded.take().into_iter().collect();
    if let Flow::Stop(what) = flow {
        machine.trouble(format!("the default entry {what}"));
        loaded.clear();
    }
    let mut submenu = None;
    if loaded.is_empty() && !machine.entries.is_empty() && depth < MAX_MENUS {
        let wanted = rest.unwrap_or_default();
        let chosen = choose(&machine.entries, wanted);
        let rest = wanted.split_once('>').map(|(_, rest)| rest);
        loaded = run(machine, chosen, rest, depth + 1)?.0;
        submenu = entry.is_submenu.then_some(entry);
    }
    machine.entries = menu;
    Ok((loaded, submenu))
}
