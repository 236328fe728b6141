//! netplan: files of YAML, from which a generator makes the configuration at boot.

use std::collections::BTreeMap;

use super::patterns::matches_any;
use super::{Card, DRIVER, Place, Way};
use crate::elf;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;
use crate::yaml::{self, Value};

const FOLDERS: [&str; 2] = ["/usr/lib/netplan", "/etc/netplan"];
const GENERATORS: [&str; 3] = [
    "/usr/lib/systemd/system-generators/netplan",
    "/lib/systemd/system-generators/netplan",
    "/etc/systemd/system-generators/netplan",
];

pub(super) fn look(system: &System, units: &Units<'_>, card: &Card) -> Result<Way, Unread> {
    let tree = &system.tree;
    // A file in `/etc` takes the place of one of the same name elsewhere.
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        for (path, text) in tree.texts_in(folder, ".yaml")? {
            files.insert(
                path.rsplit('/').next().unwrap_or_default().to_owned(),
                (path, text),
            );
        }
    }
    let Some((first, _)) = files.values().next().cloned() else {
        return Ok(Way::Absent);
    };
    let Some(generator) = tree.first_of(&GENERATORS)? else {
        return Ok(Way::Nothing(Place::new(
            "netplan is not installed",
            &first,
            0,
        )));
    };
    if let Err(fault) = elf::judge_program(tree, generator)? {
        return Ok(Way::Nothing(Place::new(
            format!("netplan cannot run: {fault}"),
            generator,
            0,
        )));
    }
    let mut renderer = "networkd".to_owned();
    let mut found = None;
    for (path, text) in files.values() {
        let value = match yaml::parse(text) {
            Ok(value) => value,
            Err(error) => {
                let why = format!("`{path}` cannot be read, and netplan does nothing: {error}");
                return Ok(Way::Nothing(Place::new(why, path, 0)));
            }
        };
        let Some(network) = value.get("network") else {
            continue;
        };
        if let Some(name) = network.get("renderer").and_then(Value::text) {
            renderer = name.to_owned();
        }
        let ethernets = network.get("ethernets");
        for (id, interface) in ethernets.into_iter().flat_map(Value::entries) {
            if fits(id, interface, card) {
                found = Some((path.clone(), interface.clone()));
            }
        }
    }
    let Some((path, interface)) = found else {
        let why = format!("no interface in `{first}` fits {}", card.name());
        return Ok(Way::Nothing(Place::new(why, &first, 0)));
    };
    let own = interface.get("renderer").and_then(Value::text);
    let unit = match own.unwrap_or(&renderer) {
        "NetworkManager" => "NetworkManager.service",
        _ => "systemd-networkd.service",
    };
    if let Some(obstacle) = units.obstacle(unit, &system.accounts, 0)? {
        let why = format!("netplan leaves the network to `{unit}`: {}", obstacle.why);
        return Ok(Way::Nothing(Place::new(why, &obstacle.path, obstacle.line)));
    }
    if unit == "NetworkManager.service" && !units.is_started(unit)? {
        let why = format!("netplan leaves the network to `{unit}`, which is not started");
        return Ok(Way::Nothing(Place::new(why, &path, 0)));
    }
    if unit == "systemd-networkd.service"
        && let Some(way) = super::networkd::before_netplan(tree, card)?
    {
        return Ok(way);
    }
    let name = card.name();
    let is_on = |key: &str| interface.get(key).is_some_and(Value::is_true);
    Ok(match () {
        () if interface
            .get("activation-mode")
            .and_then(Value::text)
            .is_some_and(|mode| matches!(mode, "manual" | "off")) =>
        {
            let why = format!("`{path}` does not bring up {name} (`activation-mode`)");
            Way::Nothing(Place::new(why, &path, 0))
        }
        () if is_on("dhcp4") => Way::Dhcp(format!("netplan, `{path}`")),
        () if interface
            .get("addresses")
            .is_some_and(|list| !list.items().is_empty()) =>
        {
            Way::Static(Place::new(
                format!("`{path}` gives {name} a fixed address"),
                &path,
                0,
            ))
        }
        () => Way::Nothing(Place::new(
            format!("`{path}` does not ask for DHCP on {name}"),
            &path,
            0,
        )),
    })
}

fn fits(id: &str, interface: &Value, card: &Card) -> bool {
    let Some(conditions) = interface
        .get("match")
        .filter(|m| m.entries().next().is_some())
    else {
        return card.fits(id);
    };
    conditions.entries().all(|(key, value)| match key.as_str() {
        "name" => value.text().is_some_and(|patterns| card.fits(patterns)),
        "driver" => {
            let one = value
                .text()
                .is_some_and(|pattern| matches_any(pattern, DRIVER));
            let items = value.items().iter().filter_map(Value::text);
            one || items
                .into_iter()
                .any(|pattern| matches_any(pattern, DRIVER))
        }
        _ => false,
    })
}
