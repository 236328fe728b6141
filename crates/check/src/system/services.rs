//! SSH server, swap in `/etc/fstab`, and network settings bound to one network card.

use super::super::context::Context;
use super::super::rules;
use super::super::unread::Unread;
use super::System;

const SSH_SERVERS: [&str; 4] = [
    "/usr/sbin/sshd",
    "/usr/bin/sshd",
    "/usr/local/sbin/sshd",
    "/usr/sbin/dropbear",
];
const SSH_SERVICES: [&str; 3] = ["ssh", "sshd", "dropbear"];
const UNIT_FOLDERS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Folders of links that start services without systemd, and OpenRC's.
const START_FOLDERS: [&str; 5] = [
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc.d/rc3.d",
    "/etc/init.d/rc3.d",
    "/etc/runlevels/default",
];
/// Devices and paths that are not on the OS disk: the resource disk, and memory.
const NOT_ON_OS_DISK: [&str; 4] = [
    "/mnt/",
    "/dev/disk/cloud/azure_resource",
    "/dev/disk/azure/resource",
    "/dev/zram",
];
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

impl System {
    /// Whether a service of one of these names is started at boot.
    pub(super) fn is_enabled(&self, names: &[&str]) -> Result<bool, Unread> {
        let mut has_unit = false;
        for name in names {
            for unit in [format!("{name}.service"), format!("{name}.socket")] {
                if self.is_masked(&unit)? {
                    has_unit = true;
                    continue;
                }
                for folder in UNIT_FOLDERS {
                    has_unit |= self.exists(&format!("{folder}/{unit}"))?;
                    if self.is_wanted(folder, &unit)? {
                        return Ok(true);
                    }
                }
            }
        }
        // Where there is a unit, systemd does not look at the links of older systems.
        Ok(!has_unit && self.is_linked(names)?)
    }

    fn is_masked(&self, unit: &str) -> Result<bool, Unread> {
        let link = self.root.link(&format!("/etc/systemd/system/{unit}"))?;
        Ok(link.as_deref() == Some("/dev/null"))
    }

    /// Whether a target in the folder wants the unit.
    fn is_wanted(&self, folder: &str, unit: &str) -> Result<bool, Unread> {
        for target in self.list(folder)? {
            if !target.ends_with(".target.wants") && !target.ends_with(".target.requires") {
                continue;
            }
            if self
                .root
                .exists_as_link(&format!("{folder}/{target}/{unit}"))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_linked(&self, names: &[&str]) -> Result<bool, Unread> {
        for folder in START_FOLDERS {
            for link in self.list(folder)? {
                let service = link.strip_prefix('S').unwrap_or(&link);
                let service = service.trim_start_matches(|c: char| c.is_ascii_digit());
                if names.contains(&service) || names.contains(&link.as_str()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Judges whether an SSH server is there and starts.
pub(super) fn judge_ssh(system: &System, context: &mut Context<'_>) -> Result<(), Unread> {
    if !system.exists_any(&SSH_SERVERS)? {
        context.find(&rules::SSH_MISSING, "no SSH server is installed");
    } else if !system.is_enabled(&SSH_SERVICES)? {
        context.find(
            &rules::SSH_DISABLED,
            "the SSH server is not started at boot",
        );
    }
    Ok(())
}

/// Judges swap space in `/etc/fstab`.
pub(super) fn judge_fstab(system: &System, context: &mut Context<'_>) -> Result<(), Unread> {
    let fstab = system.text("/etc/fstab")?.unwrap_or_default();
    for device in swap_devices(&fstab) {
        context.find(
            &rules::FSTAB_SWAP,
            format!("`/etc/fstab` has swap on the OS disk: {device}"),
        );
    }
    Ok(())
}

/// The swap areas of an fstab that can be on the OS disk.
fn swap_devices(fstab: &str) -> impl Iterator<Item = &str> {
    fstab.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next().filter(|device| !device.starts_with('#'))?;
        let is_swap = fields.nth(1) == Some("swap");
        let elsewhere = NOT_ON_OS_DISK.iter().any(|place| device.starts_with(place));
        (is_swap && !elsewhere).then_some(device)
    })
}

/// Judges rules and settings that hold for one network card only.
pub(super) fn judge_network(system: &System, context: &mut Context<'_>) -> Result<(), Unread> {
    for (path, text) in system.texts_in("/etc/udev/rules.d", ".rules")? {
        let rules = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let binds =
            |line: &str| line.contains("ATTR{address}==") || line.contains("SYSFS{address}==");
        if rules.into_iter().any(binds) {
            context.find(
                &rules::NETWORK_RULES,
                format!("`{path}` gives a name to the network card of another machine"),
            );
        }
    }
    for (folder, ending, settings) in MAC_SETTINGS {
        for (path, text) in system.texts_in(folder, ending)? {
            judge_mac_setting(&path, &text, settings, context);
        }
    }
    let interfaces = "/etc/network/interfaces";
    let text = system.text(interfaces)?.unwrap_or_default();
    judge_mac_setting(interfaces, &text, &["hwaddress "], context);
    Ok(())
}

fn judge_mac_setting(path: &str, text: &str, settings: &[&str], context: &mut Context<'_>) {
    let has_address = |line: &str| {
        let setting = settings.iter().find(|setting| line.starts_with(**setting));
        setting.is_some_and(|setting| line[setting.len()..].matches(':').count() >= 5)
    };
    if text.lines().map(str::trim_start).any(has_address) {
        context.find(
            &rules::NETWORK_MAC,
            format!("`{path}` binds an interface to the network card of another machine"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_in_fstab() {
        let fstab = "# swap\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n\
                     /swapfile swap swap defaults 0 0\n#/dev/sda3 none swap sw\n\
                     /mnt/resource/swapfile none swap sw 0 0\n/dev/zram0 none swap sw 0 0\nswap\n";
        let found: Vec<_> = swap_devices(fstab).collect();
        assert_eq!(found, ["UUID=2", "/swapfile"]);
    }
}
