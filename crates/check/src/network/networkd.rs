//! systemd-networkd: the first file whose conditions fit the card configures it.

use std::collections::BTreeMap;

use super::patterns::{ini_value, matches_any};
use super::{Card, DRIVER, Place, Way};
use crate::files::Tree;
use crate::system::System;
use crate::system::units::{Units, is_yes};
use crate::unread::Unread;

const UNIT: &str = "systemd-networkd.service";
/// Folders of its files, those of the first have the last word.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
];
/// Conditions that hold for the machine, and those that cannot be told.
const UNSURE: [&str; 6] = [
    "Path",
    "Property",
    "Host",
    "KernelCommandLine",
    "Credential",
    "KernelVersion",
];

pub(super) fn look(system: &System, units: &Units<'_>, card: &Card) -> Result<Way, Unread> {
    let files = files(&system.tree)?;
    if !units.is_started(UNIT)? {
        let own = files.iter().any(|(path, _)| path.starts_with("/etc/"));
        return Ok(match own {
            true => Way::Nothing(Place::new(
                format!("`{UNIT}` is not started"),
                "/etc/systemd/network",
                0,
            )),
            false => Way::Absent,
        });
    }
    if let Some(obstacle) = units.obstacle(UNIT, &system.accounts, 0)? {
        return Ok(Way::Nothing(Place::new(
            obstacle.why,
            &obstacle.path,
            obstacle.line,
        )));
    }
    for (path, text) in files {
        match fits(&text, card) {
            Some(true) => return Ok(configured(&path, &text, card)),
            Some(false) => {}
            None => {
                let why = format!("whether `{path}` fits {} could not be told", card.name());
                return Ok(Way::Unknown(Place::new(why, &path, 0)));
            }
        }
    }
    let why = format!("no file of `/etc/systemd/network` fits {}", card.name());
    Ok(Way::Nothing(Place::new(why, "/etc/systemd/network", 0)))
}

/// What a file does to the card that comes before those that netplan writes; `None` where none does.
pub(super) fn before_netplan(tree: &Tree, card: &Card) -> Result<Option<Way>, Unread> {
    let own = format!("10-netplan-{}.network", card.name());
    for (path, text) in files(tree)? {
        let name = path.rsplit('/').next().unwrap_or_default();
        if name < own.as_str() && fits(&text, card) == Some(true) {
            return Ok(Some(configured(&path, &text, card)));
        }
    }
    Ok(None)
}

/// The files in the order of their names; an empty one takes away those of other folders.
fn files(tree: &Tree) -> Result<Vec<(String, String)>, Unread> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        for name in tree.list(folder)? {
            if !name.ends_with(".network") {
                continue;
            }
            let path = format!("{folder}/{name}");
            let meta = tree.meta(&path)?;
            // networkd is an ordinary user, to whom a file that only root may read is none.
            if meta.is_some_and(|meta| meta.is_file() && meta.mode & 0o044 == 0) {
                continue;
            }
            let mut text = tree.text(&path)?.unwrap_or_default();
            for (_, more) in tree.texts_in(&format!("/etc/systemd/network/{name}.d"), ".conf")? {
                text.push('\n');
                text.push_str(&more);
            }
            files.insert(name, (path, text));
        }
    }
    Ok(files
        .into_values()
        .filter(|(_, text)| !text.trim().is_empty())
        .collect())
}

/// Whether the conditions of a file fit the card; `None` where that cannot be told.
fn fits(text: &str, card: &Card) -> Option<bool> {
    let value = |key: &str| ini_value(text, "Match", key).filter(|value| !value.is_empty());
    let conditions = [
        value("Name").map(|patterns| card.fits(patterns)),
        value("Driver").map(|patterns| matches_any(patterns, DRIVER)),
        value("Type").map(|patterns| matches_any(patterns, "ether")),
        value("Kind").map(|patterns| patterns.starts_with('!')),
        value("MACAddress").map(|_| false),
        value("PermanentMACAddress").map(|_| false),
        value("WLANInterfaceType").map(|_| false),
        value("Virtualization").map(virtualization),
    ];
    if conditions.contains(&Some(false)) {
        return Some(false);
    }
    if UNSURE.iter().any(|key| value(key).is_some()) {
        return None;
    }
    // Without a condition a file fits every card to version 242, and none from 243 on.
    conditions.contains(&Some(true)).then_some(true)
}

fn virtualization(value: &str) -> bool {
    let (inverted, value) = match value.strip_prefix('!') {
        Some(value) => (true, value),
        None => (false, value),
    };
    (matches!(value, "vm" | "microsoft") || is_yes(value)) != inverted
}

fn configured(path: &str, text: &str, card: &Card) -> Way {
    let value = |key: &str| ini_value(text, "Network", key).unwrap_or_default();
    let dhcp = value("DHCP").to_ascii_lowercase();
    let name = card.name();
    if ini_value(text, "Link", "Unmanaged").is_some_and(is_yes) {
        return Way::Nothing(Place::new(format!("`{path}` leaves {name} alone"), path, 0));
    }
    if ini_value(text, "Link", "ActivationPolicy")
        .is_some_and(|v| matches!(v, "down" | "always-down" | "manual"))
    {
        return Way::Nothing(Place::new(
            format!("`{path}` does not bring up {name}"),
            path,
            0,
        ));
    }
    if matches!(dhcp.as_str(), "ipv4" | "both" | "v4") || is_yes(&dhcp) {
        return Way::Dhcp(format!("systemd-networkd, `{path}`"));
    }
    let has_address =
        !value("Address").is_empty() || ini_value(text, "Address", "Address").is_some();
    if has_address {
        return Way::Static(Place::new(
            format!("`{path}` gives {name} a fixed address"),
            path,
            0,
        ));
    }
    if ["Bond", "Bridge", "VRF"]
        .iter()
        .any(|key| !value(key).is_empty())
    {
        return Way::Unknown(Place::new(
            format!("`{path}` makes {name} part of another interface"),
            path,
            0,
        ));
    }
    Way::Nothing(Place::new(
        format!("`{path}` fits {name}, and does not ask for DHCP"),
        path,
        0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let card = Card::unnamed();
        let fits = |text: &str| fits(text, &card);
        assert_eq!(fits("[Match]\nName=eth0\n"), Some(true));
        assert_eq!(fits("[Match]\nName=en*\n"), Some(false));
        assert_eq!(fits("[Match]\nType=ether\n"), Some(true));
        assert_eq!(fits("[Match]\nMACAddress=00:0c:29:00:00:01\n"), Some(false));
        assert_eq!(fits("[Match]\nDriver=hv_netvsc\nName=eth*\n"), Some(true));
        assert_eq!(fits("[Match]\nDriver=virtio_net\n"), Some(false));
        assert_eq!(fits("[Match]\nVirtualization=!container\n"), Some(true));
        assert_eq!(fits("[Match]\nPath=pci-*\n"), None);
        assert_eq!(fits("[Network]\nDHCP=yes\n"), None);
        assert!(matches!(
            configured("x", "[Network]\nDHCP=yes\n", &card),
            Way::Dhcp(_)
        ));
        assert!(matches!(
            configured("x", "[Network]\nDHCP=ipv6\n", &card),
            Way::Nothing(_)
        ));
        assert!(matches!(
            configured("x", "[Network]\nAddress=10.0.0.4/24\n", &card),
            Way::Static(_)
        ));
    }
}
