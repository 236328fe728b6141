//! `ifcfg` files: of Red Hat's scripts, NetworkManager's plugin, and SUSE's wicked.

use super::{Card, Place, Way};
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

/// Folders, with the services that read them.
const KINDS: [(&str, &[&str]); 2] = [
    (
        "/etc/sysconfig/network-scripts",
        &["NetworkManager.service", "network.service"],
    ),
    (
        "/etc/sysconfig/network",
        &[
            "wicked.service",
            "wickedd.service",
            "network.service",
            "NetworkManager.service",
        ],
    ),
];

pub(super) fn look(system: &System, units: &Units<'_>, card: &Card) -> Result<Vec<Way>, Unread> {
    let mut ways = Vec::new();
    for (folder, services) in KINDS {
        let files = system.tree.texts_in(folder, "")?;
        let of_card = files.iter().filter(|(path, text)| fits(path, text, card));
        for (path, text) in of_card {
            let mut runs = false;
            for service in services {
                runs |= units.is_started(service)?
                    && units.obstacle(service, &system.accounts, 0)?.is_none();
            }
            ways.push(match runs {
                true => configured(path, text, card),
                false => Way::Nothing(Place::new(
                    format!("no service that reads `{path}` is started"),
                    path,
                    0,
                )),
            });
        }
    }
    Ok(ways)
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
    let value = lines.rfind(|(found, _)| *found == key)?.1;
    Some(
        value
            .split('#')
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches(['"', '\'']),
    )
}

fn fits(path: &str, text: &str, card: &Card) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(name) = name.strip_prefix("ifcfg-") else {
        return false;
    };
    let is_bound = value(text, "HWADDR").is_some_and(|address| !address.is_empty());
    card.fits(value(text, "DEVICE").unwrap_or(name)) && !is_bound
}

fn configured(path: &str, text: &str, card: &Card) -> Way {
    let lower = |key: &str| value(text, key).unwrap_or_default().to_ascii_lowercase();
    let name = card.name();
    let off = matches!(lower("ONBOOT").as_str(), "no" | "false" | "0")
        || matches!(lower("STARTMODE").as_str(), "off" | "manual");
    if off {
        return Way::Nothing(Place::new(
            format!("`{path}` does not bring up {name} at boot"),
            path,
            0,
        ));
    }
    match lower("BOOTPROTO").as_str() {
        "dhcp" | "dhcp4" | "bootp" => Way::Dhcp(format!("`{path}`")),
        "static" | "none" | "" if value(text, "IPADDR").is_some() => Way::Static(Place::new(
            format!("`{path}` gives {name} a fixed address"),
            path,
            0,
        )),
        other => Way::Nothing(Place::new(
            format!("`{path}` has BOOTPROTO={other}, and no DHCP"),
            path,
            0,
        )),
    }
}
