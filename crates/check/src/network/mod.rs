//! What brings up the network: whether something configures `eth0` by DHCP.

mod card;
mod ifcfg;
mod ifupdown;
mod netplan;
mod network_manager;
mod networkd;
mod patterns;

use crate::context::Context;
use crate::drivers::{self, Drivers};
use crate::files::Tree;
use crate::provisioning::CloudInit;
use crate::report::Stage;
use crate::rules::network as rules;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

use card::Card;
pub(crate) use patterns::matches;

/// The driver of the network card of Hyper-V.
const DRIVER: &str = "hv_netvsc";
/// Services that bring up every card with DHCP.
const DHCP_SERVICES: [&str; 3] = ["dhcpcd.service", "dhcpcd5.service", "dhclient.service"];
/// Folders and endings of files in which an interface can be bound to a hardware address, with
/// the beginning of the line that does so.
const MAC_SETTINGS: &[(&str, &str, &[&str])] = &[
    (
        "/etc/sysconfig/network-scripts",
        "",
        &["HWADDR=", "MACADDR="],
    ),
    ("/etc/sysconfig/network", "", &["HWADDR=", "LLADDR="]),
    ("/etc/netplan", ".yaml", &["macaddress:"]),
    (
        "/etc/systemd/network",
        ".link",
        &["MACAddress=", "PermanentMACAddress="],
    ),
    (
        "/etc/systemd/network",
        ".network",
        &["MACAddress=", "PermanentMACAddress="],
    ),
    (
        "/etc/NetworkManager/system-connections",
        "",
        &["mac-address=", "cloned-mac-address="],
    ),
    ("/etc/network/interfaces.d", "", &["hwaddress "]),
];

/// What one way to configure the network comes to.
#[derive(Debug)]
pub(super) enum Way {
    /// It brings up the interface by DHCP.
    Dhcp(String),
    /// It gives the interface a fixed address.
    Static(Place),
    /// It does not configure the interface, and why.
    Nothing(Place),
    /// It cannot be told.
    Unknown(Place),
    /// The system does not have it.
    Absent,
}

/// A reason and where it stands.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) why: String,
    pub(super) path: String,
    pub(super) line: u32,
}

impl Place {
    pub(super) fn new(why: impl Into<String>, path: &str, line: u32) -> Self {
        Self {
            why: why.into(),
            path: path.to_owned(),
            line,
        }
    }
}

/// Judges the network.
pub(crate) fn judge(
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
    drivers: Option<&Drivers>,
    context: &Context<'_>,
) -> Result<(), Unread> {
    if let Some(drivers) = drivers.filter(|drivers| !drivers.are_unknown()) {
        judge_driver(&system.tree, drivers, context)?;
    }
    judge_rules(&system.tree, context)?;
    let card = Card::read(&system.tree)?;
    let mut ways = vec![
        networkd::look(system, units, &card)?,
        netplan::look(system, units, &card)?,
        ifupdown::look(system, &card, units)?,
        network_manager::look(system, units, &card)?,
    ];
    ways.extend(ifcfg::look(system, units, &card)?);
    for name in DHCP_SERVICES {
        if units.is_started(name)? && units.obstacle(name, &system.accounts, 0)?.is_none() {
            ways.push(Way::Dhcp(format!("`{name}`")));
        }
    }
    if cloud_init.configures_network {
        ways.push(of_cloud_init(system, units, &card)?);
    }
    match card.unsure() {
        Some(place) => {
            let rule = &rules::NETWORK_UNKNOWN;
            context.find_at(rule, &place.path, place.line, place.why.clone());
        }
        None => conclude(&ways, &card, context),
    }
    judge_sriov(&system.tree, &ways, context)
}

fn conclude(ways: &[Way], card: &Card, context: &Context<'_>) {
    let name = card.name();
    let dhcp = ways.iter().find_map(|way| match way {
        Way::Dhcp(evidence) => Some(evidence.clone()),
        _ => None,
    });
    if let Some(evidence) = dhcp {
        context.evidence(Stage::Network, format!("{name} by DHCP: {evidence}"));
        return;
    }
    let mut found = false;
    for way in ways {
        let (rule, place) = match way {
            Way::Unknown(place) => (&rules::NETWORK_UNKNOWN, place),
            Way::Static(place) => (&rules::NETWORK_STATIC, place),
            _ => continue,
        };
        found = true;
        context.find_at(rule, &place.path, place.line, place.why.clone());
    }
    if found {
        return;
    }
    let nothing: Vec<_> = ways
        .iter()
        .filter_map(|way| match way {
            Way::Nothing(place) => Some(place),
            _ => None,
        })
        .collect();
    match nothing.first() {
        Some(first) => {
            let whys: Vec<_> = nothing.iter().map(|place| place.why.as_str()).collect();
            context.find_at(
                &rules::NETWORK_NONE,
                &first.path,
                first.line,
                format!("nothing brings up {name}: {}", whys.join("; ")),
            );
        }
        None => context.find(
            &rules::NETWORK_NONE,
            format!("nothing brings up {name}: no service that configures networks is started"),
        ),
    }
}

/// With accelerated networking, a second card appears that belongs to the first, and that
/// NetworkManager would configure too.
fn judge_sriov(tree: &Tree, ways: &[Way], context: &Context<'_>) -> Result<(), Unread> {
    let by_manager =
        |way: &Way| matches!(way, Way::Dhcp(evidence) if evidence.starts_with("NetworkManager"));
    if !ways.iter().any(by_manager) {
        return Ok(());
    }
    for folder in ["/etc/udev/rules.d", "/usr/lib/udev/rules.d"] {
        for (_, text) in tree.texts_in(folder, ".rules")? {
            if text.contains("NM_UNMANAGED")
                && (text.contains("hv_pci")
                    || text.contains("mlx")
                    || text.contains("IFF_SLAVE")
                    || text.contains("0x800"))
            {
                return Ok(());
            }
        }
    }
    context.find(
        &rules::NETWORK_SRIOV,
        "no rule of udev keeps NetworkManager from the card of accelerated networking",
    );
    Ok(())
}

/// The way that cloud-init takes: it writes the configuration for a service, which must run.
fn of_cloud_init(system: &System, units: &Units<'_>, card: &Card) -> Result<Way, Unread> {
    let tree = &system.tree;
    let runs = |name: &str| -> Result<bool, Unread> {
        Ok(units.is_started(name)? && units.obstacle(name, &system.accounts, 0)?.is_none())
    };
    let has = |name: &str| -> Result<bool, Unread> {
        tree.exists_any(&[
            &format!("/usr/sbin/{name}"),
            &format!("/sbin/{name}"),
            &format!("/usr/bin/{name}"),
        ])
    };
    let networkd_is_usable = || -> Result<bool, Unread> {
        let name = "systemd-networkd.service";
        Ok(units.obstacle(name, &system.accounts, 0)?.is_none())
    };
    let evidence = |service: &str| Ok(Way::Dhcp(format!("cloud-init, for {service}")));
    if has("netplan")? && networkd_is_usable()? {
        return match networkd::before_netplan(tree, card)? {
            Some(way) => Ok(way),
            None => evidence("netplan"),
        };
    }
    let eni = has("ifup")? && has("ifquery")? && tree.is_file("/etc/network/interfaces")?;
    if eni && runs("networking.service")? && ifupdown::dhcp_client(tree)?.is_ok() {
        return evidence("ifupdown");
    }
    for (service, name) in [
        ("NetworkManager.service", "NetworkManager"),
        ("systemd-networkd.service", "systemd-networkd"),
        ("network.service", "the scripts of `/etc/sysconfig`"),
        ("wicked.service", "wicked"),
    ] {
        if runs(service)? {
            return evidence(name);
        }
    }
    Ok(Way::Nothing(Place::new(
        "cloud-init writes a configuration, and no service that would use it is started",
        "",
        0,
    )))
}

fn judge_driver(tree: &Tree, drivers: &Drivers, context: &Context<'_>) -> Result<(), Unread> {
    match drivers.find(DRIVER, &["HYPERV_NET"]) {
        drivers::Driver::BuiltIn => {}
        drivers::Driver::Missing => {
            context.find(
                &rules::HV_NETVSC,
                "the kernel has no `hv_netvsc`, and so no network on Azure",
            );
        }
        drivers::Driver::Module => {
            if let Some(path) = drivers::blocking_file(tree, DRIVER)? {
                let message = format!("`{path}` keeps `{DRIVER}` from being loaded");
                context.find_in(&rules::NETVSC_BLOCKED, &path, message);
            }
            if let Some(path) = drivers.missing_file(tree, DRIVER)? {
                let message = format!("`{DRIVER}` is listed, and there is no `{path}`");
                context.find_in(&rules::HV_NETVSC, &path, message);
            }
        }
    }
    Ok(())
}

/// Judges rules and settings that hold for one network card only.
fn judge_rules(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    for (path, text) in tree.texts_in("/etc/udev/rules.d", ".rules")? {
        let rules_of = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let binds =
            |line: &str| line.contains("ATTR{address}==") || line.contains("SYSFS{address}==");
        if rules_of.into_iter().any(binds) {
            context.find_in(
                &rules::NETWORK_RULES,
                &path,
                format!("`{path}` gives a name to the network card of another machine"),
            );
        }
    }
    for (folder, ending, settings) in MAC_SETTINGS {
        for (path, text) in tree.texts_in(folder, ending)? {
            judge_mac_setting(&path, &text, settings, context);
        }
    }
    let interfaces = "/etc/network/interfaces";
    let text = tree.text(interfaces)?.unwrap_or_default();
    judge_mac_setting(interfaces, &text, &["hwaddress "], context);
    Ok(())
}

fn judge_mac_setting(path: &str, text: &str, settings: &[&str], context: &Context<'_>) {
    let has_address = |line: &str| {
        let line = line.trim_start();
        let setting = settings.iter().find(|setting| line.starts_with(**setting));
        setting.is_some_and(|setting| line[setting.len()..].matches(':').count() >= 5)
    };
    if let Some(line) = text.lines().position(has_address) {
        context.find_at(
            &rules::NETWORK_MAC,
            path,
            line as u32 + 1,
            format!("`{path}` binds an interface to the network card of another machine"),
        );
    }
}
