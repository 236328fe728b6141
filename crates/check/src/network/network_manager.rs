//! NetworkManager: connections in files, and the one that it makes by itself.
//!
//! Source: the manuals NetworkManager.conf(5) and nm-settings-keyfile(5).

use super::patterns::ini_value;
use super::{Card, Place, Way};
use crate::files::Tree;
use crate::system::System;
use crate::system::units::{Units, is_yes};
use crate::unread::Unread;

const UNIT: &str = "NetworkManager.service";
const CONNECTIONS: [&str; 2] = [
    "/etc/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];
const CONF_FOLDERS: [&str; 2] = [
    "/usr/lib/NetworkManager/conf.d",
    "/etc/NetworkManager/conf.d",
];
const CONF: &str = "/etc/NetworkManager/NetworkManager.conf";

pub(super) fn look(system: &System, units: &Units<'_>, card: &Card) -> Result<Way, Unread> {
    let tree = &system.tree;
    if !units.is_started(UNIT)? {
        let has_own = !tree.list(CONNECTIONS[0])?.is_empty();
        let why = format!("`{UNIT}` is not started");
        return Ok(match has_own {
            true => Way::Nothing(Place::new(why, CONNECTIONS[0], 0)),
            false => Way::Absent,
        });
    }
    for name in [UNIT, "dbus.socket"] {
        if let Some(obstacle) = units.obstacle(name, &system.accounts, 0)? {
            return Ok(Way::Nothing(Place::new(
                obstacle.why,
                &obstacle.path,
                obstacle.line,
            )));
        }
    }
    let texts = configuration(tree)?;
    let setting = |section: &str, key: &str| {
        let mut values = texts
            .iter()
            .filter_map(|(path, text)| Some((path, ini_value(text, section, key)?)));
        values.next_back()
    };
    let name = card.name();
    if let Some((path, value)) = setting("keyfile", "unmanaged-devices")
        && is_unmanaged(value, name)
    {
        let why = format!("`{path}` keeps NetworkManager from {name}");
        return Ok(Way::Nothing(Place::new(why, path, 0)));
    }
    if let Some(way) = of_connections(tree, card)? {
        return Ok(way);
    }
    let excluded = setting("main", "no-auto-default");
    match excluded {
        Some((path, value))
            if value
                .split([',', ';', ' '])
                .any(|v| v == "*" || v.contains(name)) =>
        {
            let why = format!(
                "NetworkManager has no connection for {name}, and `{path}` keeps it from making one"
            );
            Ok(Way::Nothing(Place::new(why, path, 0)))
        }
        _ => Ok(Way::Dhcp(
            "NetworkManager, a connection that it makes by itself".to_owned(),
        )),
    }
}

fn configuration(tree: &Tree) -> Result<Vec<(String, String)>, Unread> {
    let mut texts = tree.texts_in(CONF_FOLDERS[0], ".conf")?;
    // A file of the same name in `/etc` takes its place.
    let own = tree.texts_in(CONF_FOLDERS[1], ".conf")?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    texts.retain(|(path, _)| !own.iter().any(|(other, _)| name(other) == name(path)));
    texts.extend(tree.text(CONF)?.map(|text| (CONF.to_owned(), text)));
    texts.extend(own);
    Ok(texts)
}

fn is_unmanaged(value: &str, name: &str) -> bool {
    let mut unmanaged = false;
    for item in value.split([',', ';']).map(str::trim) {
        let (except, item) = match item.strip_prefix("except:") {
            Some(item) => (true, item),
            None => (false, item),
        };
        let (kind, pattern) = item.split_once(':').unwrap_or(("", item));
        let fits = match kind {
            "" => super::matches(pattern, name),
            "interface-name" => super::matches(pattern.trim_start_matches('='), name),
            "type" => pattern == "ethernet",
            "driver" => super::matches(pattern, super::DRIVER),
            _ => false,
        };
        if fits && except {
            return false;
        }
        unmanaged |= fits;
    }
    unmanaged
}

fn of_connections(tree: &Tree, card: &Card) -> Result<Option<Way>, Unread> {
    let mut best = None;
    for folder in CONNECTIONS {
        for (path, text) in tree.texts_in(folder, "")? {
            let value =
                |section: &str, key: &str| ini_value(&text, section, key).unwrap_or_default();
            let is_wired = matches!(value("connection", "type"), "ethernet" | "802-3-ethernet");
            let bound = value("connection", "interface-name");
            let other_card = !value("ethernet", "mac-address").is_empty()
                || !value("802-3-ethernet", "mac-address").is_empty();
            if !is_wired || other_card || !(bound.is_empty() || card.fits(bound)) {
                continue;
            }
            let off = value("connection", "autoconnect");
            if !off.is_empty() && !is_yes(off) {
                // That it is there keeps NetworkManager from one of its own.
                let why = format!("`{path}` is not brought up by itself (`autoconnect`)");
                best = best.or(Some(Way::Nothing(Place::new(why, &path, 0))));
                continue;
            }
            let meta = tree.meta(&path)?;
            if meta.is_some_and(|meta| meta.mode & 0o077 != 0 || meta.uid != 0)
                && folder.starts_with("/etc")
            {
                let why =
                    format!("NetworkManager leaves out `{path}`, which others than root may read");
                best = best.or(Some(Way::Nothing(Place::new(why, &path, 0))));
                continue;
            }
            let way = match value("ipv4", "method") {
                "auto" | "" => return Ok(Some(Way::Dhcp(format!("NetworkManager, `{path}`")))),
                "manual" => Way::Static(Place::new(
                    format!("`{path}` gives {} a fixed address", card.name()),
                    &path,
                    0,
                )),
                method => Way::Nothing(Place::new(
                    format!("`{path}` configures IPv4 by the method `{method}`"),
                    &path,
                    0,
                )),
            };
            best = Some(way);
        }
    }
    // What it leaves out does not keep it from a connection of its own.
    Ok(best.filter(|way| !matches!(way, Way::Nothing(place) if place.why.contains("leaves out"))))
}
