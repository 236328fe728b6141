//! ifupdown: `/etc/network/interfaces`, by its own grammar.
//!
//! Source: the manual interfaces(5).

use super::{Card, Place, Way, matches};
use crate::elf;
use crate::files::Tree;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

const PATH: &str = "/etc/network/interfaces";
const UNIT: &str = "networking.service";
/// Clients of DHCP that it knows.
const CLIENTS: [&str; 4] = ["dhclient", "udhcpc", "dhcpcd", "pump"];
/// What starts interfaces as they appear, in place of the service.
const HOTPLUG: [&str; 3] = [
    "/usr/lib/udev/ifupdown-hotplug",
    "/lib/udev/ifupdown-hotplug",
    "/usr/lib/udev/net.agent",
];
const MAX_DEPTH: u32 = 8;
/// Words with which a stanza begins, besides those with `allow-`.
const KEYWORDS: [&str; 9] = [
    "auto",
    "iface",
    "mapping",
    "source",
    "source-directory",
    "no-auto-down",
    "no-scripts",
    "rename",
    "template",
];
/// What dhclient runs to configure the interface.
const DHCLIENT_SCRIPT: [&str; 2] = ["/sbin/dhclient-script", "/usr/sbin/dhclient-script"];

/// A definition of an interface.
#[derive(Debug, Default)]
struct Interfaces {
    /// Patterns of names that are brought up, with whether that is as they appear.
    automatic: Vec<(String, bool)>,
    defined: Vec<Stanza>,
    /// File and line of an option that belongs to nothing.
    misplaced: Option<(String, u32)>,
}

/// How an interface is configured.
#[derive(Debug)]
struct Stanza {
    /// Pattern of names.
    name: String,
    /// `inet` or `inet6`.
    family: String,
    method: String,
    place: Place,
    /// Commands that must succeed before it is configured, with their lines.
    before: Vec<(u32, String)>,
}

pub(super) fn look(system: &System, card: &Card, units: &Units<'_>) -> Result<Way, Unread> {
    let tree = &system.tree;
    let Some(ifup) = elf::in_search_path(tree, "ifup")? else {
        return Ok(Way::Absent);
    };
    // Others have programs of this name too.
    if !tree.is_file(PATH)? {
        return Ok(Way::Absent);
    }
    let mut interfaces = Interfaces::default();
    interfaces.read(tree, PATH, 0)?;
    let name = card.name();
    let automatic: Vec<_> = interfaces
        .automatic
        .iter()
        .filter(|(pattern, _)| matches(pattern, name))
        .collect();
    let mut defined = interfaces.defined.iter();
    let Some(stanza) = defined.find(|s| matches(&s.name, name) && s.family == "inet") else {
        let why = format!("no stanza of `{PATH}` defines {name} for IPv4");
        return Ok(Way::Nothing(Place::new(why, PATH, 0)));
    };
    let Stanza { method, place, .. } = stanza;
    if automatic.is_empty() {
        let why = format!(
            "`{}` defines {name} and does not bring it up (`auto` or `allow-hotplug`)",
            place.path
        );
        return Ok(Way::Nothing(Place::new(why, &place.path, place.line)));
    }
    if let Some((path, line)) = &interfaces.misplaced {
        let why = format!(
            "line {line} of `{path}` belongs to no interface, so that ifupdown does nothing"
        );
        return Ok(Way::Nothing(Place::new(why, path, *line)));
    }
    if elf::in_search_path(tree, "ip")?.is_none() {
        let why = "there is no `ip`, with which ifupdown brings up interfaces";
        return Ok(Way::Nothing(Place::new(why, PATH, 0)));
    }
    if let Err(fault) = elf::judge_program(tree, &ifup)? {
        return Ok(Way::Nothing(Place::new(
            format!("ifupdown cannot run: {fault}"),
            &ifup,
            0,
        )));
    }
    let by_hotplug = automatic.iter().any(|(_, hotplug)| *hotplug) && tree.exists_any(&HOTPLUG)?;
    if !by_hotplug {
        if !units.is_started(UNIT)? {
            return Ok(Way::Nothing(Place::new(
                format!("`{UNIT}` is not started"),
                "",
                0,
            )));
        }
        if let Some(obstacle) = units.obstacle(UNIT, &system.accounts, 0)? {
            return Ok(Way::Nothing(Place::new(
                obstacle.why,
                &obstacle.path,
                obstacle.line,
            )));
        }
    }
    if let Some(way) = stanza.held_up(tree)? {
        return Ok(way);
    }
    Ok(match method.as_str() {
        "dhcp" => match dhcp_client(tree)? {
            Ok(client) => Way::Dhcp(format!("ifupdown, `{}`, `{client}`", place.path)),
            Err(why) => Way::Nothing(Place::new(why, &place.path, place.line)),
        },
        "static" => {
            let why = format!("`{}` gives {name} a fixed address", place.path);
            Way::Static(Place::new(why, &place.path, place.line))
        }
        method => {
            let why = format!("`{}` brings up {name} by the method `{method}`", place.path);
            let place = Place::new(why, &place.path, place.line);
            if matches!(method, "manual" | "loopback") {
                Way::Nothing(place)
            } else {
                Way::Unknown(place)
            }
        }
    })
}

/// The client of DHCP that is taken, or why there is none.
pub(super) fn dhcp_client(tree: &Tree) -> Result<Result<String, String>, Unread> {
    let mut why = None;
    for name in CLIENTS {
        let Some(path) = elf::in_search_path(tree, name)? else {
            continue;
        };
        match elf::judge_program(tree, &path)? {
            Ok(()) if name == "dhclient" && !tree.exists_any(&DHCLIENT_SCRIPT)? => {
                let gone = "there is no `dhclient-script`, which configures the interface";
                why = why.or(Some(gone.to_owned()));
            }
            Ok(()) => return Ok(Ok(path)),
            Err(fault) => why = why.or(Some(format!("the DHCP client cannot run: {fault}"))),
        }
    }
    Ok(Err(why.unwrap_or_else(|| {
        "there is no DHCP client such as `dhclient`".to_owned()
    })))
}

impl Stanza {
    /// What keeps the interface from being configured: a command before it that fails, or of which
    /// it is not known whether it does.
    fn held_up(&self, tree: &Tree) -> Result<Option<Way>, Unread> {
        for (line, command) in &self.before {
            let place = |why: String| Place::new(why, &self.place.path, *line);
            match outcome(tree, command)? {
                Some(true) => {}
                Some(false) => {
                    let why = format!("`{command}` fails, which is run before it");
                    return Ok(Some(Way::Nothing(place(why))));
                }
                None => {
                    let why = format!("`{command}` is run before it, and must succeed");
                    return Ok(Some(Way::Unknown(place(why))));
                }
            }
        }
        Ok(None)
    }
}

/// Whether a command of the shell succeeds; `None` if that cannot be told.
fn outcome(tree: &Tree, command: &str) -> Result<Option<bool>, Unread> {
    let last = command.rsplit("||").next().unwrap_or_default().trim();
    if command.contains("||") && matches!(last, "true" | "/bin/true" | ":" | "exit 0") {
        return Ok(Some(true));
    }
    let program = command.split_whitespace().next().unwrap_or_default();
    match program {
        "" | "true" | "/bin/true" | "/usr/bin/true" | ":" | "sleep" | "echo" | "logger" => {
            return Ok(Some(true));
        }
        "false" | "/bin/false" | "/usr/bin/false" => return Ok(Some(false)),
        _ => {}
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !program.chars().all(is_plain) || command.contains("||") {
        return Ok(None);
    }
    let is_builtin = matches!(
        program,
        "exit" | "if" | "for" | "test" | "export" | "cd" | "set"
    );
    let is_there = match program.starts_with('/') {
        true => tree.is_file(program)?,
        false => is_builtin || elf::in_search_path(tree, program)?.is_some(),
    };
    Ok((!is_there).then_some(false))
}

impl Interfaces {
    fn read(&mut self, tree: &Tree, path: &str, depth: u32) -> Result<(), Unread> {
        let Some(text) = tree.text(path)? else {
            return Ok(());
        };
        if depth > MAX_DEPTH || self.defined.len() > 1000 {
            return Ok(());
        }
        let mut lines = (1..).zip(text.lines());
        let mut in_stanza = false;
        while let Some((number, line)) = lines.next() {
            let mut whole = line.trim().to_owned();
            while whole.ends_with('\\') && !whole.starts_with('#') {
                whole.pop();
                match lines.next() {
                    Some((_, more)) => whole.push_str(more.trim()),
                    None => break,
                }
            }
            let words: Vec<&str> = whole.split_whitespace().collect();
            let is_option = match words.first() {
                None => continue,
                Some(first) if first.starts_with('#') => continue,
                Some(first) => !first.starts_with("allow-") && !KEYWORDS.contains(first),
            };
            if is_option && !in_stanza && self.misplaced.is_none() {
                self.misplaced = Some((path.to_owned(), number));
            }
            in_stanza = is_option && in_stanza || matches!(words[0], "iface" | "mapping");
            match words[..] {
                ["auto" | "allow-auto", ref names @ ..] => self.add(names, false),
                ["allow-hotplug", ref names @ ..] => self.add(names, true),
                ["no-auto-down" | "no-scripts", ..] => {}
                ["iface", name, family, method, ..] => {
                    self.defined.push(Stanza {
                        name: name.to_owned(),
                        family: family.to_owned(),
                        method: method.to_owned(),
                        place: Place::new("", path, number),
                        before: Vec::new(),
                    });
                }
                ["pre-up", ref command @ ..] => {
                    if let Some(stanza) = self.defined.last_mut() {
                        stanza.before.push((number, command.join(" ")));
                    }
                }
                ["source", pattern] => {
                    for found in expand(tree, pattern)? {
                        self.read(tree, &found, depth + 1)?;
                    }
                }
                ["source-directory", folder] => {
                    for name in tree.list(&absolute(folder))? {
                        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                        if name.chars().all(is_plain) {
                            self.read(tree, &format!("{}/{name}", absolute(folder)), depth + 1)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, names: &[&str], hotplug: bool) {
        let names = names.iter().map(|name| {
            // A pattern stands behind the name of the kernel's interfaces, as in `/eth*`.
            let pattern = name
                .split('/')
                .rfind(|part| !part.is_empty())
                .unwrap_or(name);
            (pattern.to_owned(), hotplug)
        });
        self.automatic.extend(names.take(256));
    }
}

fn absolute(path: &str) -> String {
    match path.starts_with('/') {
        true => path.trim_end_matches('/').to_owned(),
        false => format!("/etc/network/{}", path.trim_end_matches('/')),
    }
}

/// The files that a pattern fits, in which only the last part may have wildcards.
fn expand(tree: &Tree, pattern: &str) -> Result<Vec<String>, Unread> {
    let pattern = absolute(pattern);
    let Some((folder, last)) = pattern.rsplit_once('/') else {
        return Ok(Vec::new());
    };
    if !last.contains(['*', '?', '[']) {
        return Ok(vec![pattern.clone()]);
    }
    let names = tree.list(folder)?;
    let hidden = |name: &&String| !name.starts_with('.') && matches(last, name);
    Ok(names
        .iter()
        .filter(hidden)
        .map(|name| format!("{folder}/{name}"))
        .collect())
}
