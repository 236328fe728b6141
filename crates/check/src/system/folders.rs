//! Folders that must be there before the first program runs, and who may enter them.

use super::System;
use crate::cmdline::{has_word, last};
use crate::context::Context;
use crate::drivers::Drivers;
use crate::family::Family;
use crate::files::Tree;
use crate::rules::system as rules;
use crate::unread::Unread;

/// On which the kernel's own file systems are mounted; init cannot make them on a root file system
/// that is mounted read-only, and stops.
const MOUNT_POINTS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// Through which every user must get.
const COMMON: [&str; 8] = [
    "/", "/etc", "/usr", "/usr/bin", "/bin", "/lib", "/usr/lib", "/home",
];

/// Rules of udev that load drivers, set modes, give names to disks, and tell systemd of devices.
const UDEV_RULES: [&str; 4] = [
    "50-udev-default.rules",
    "60-persistent-storage.rules",
    "80-drivers.rules",
    "99-systemd.rules",
];
/// Where they are, the first has the last word.
const UDEV_FOLDERS: [&str; 3] = [
    "/etc/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

/// Judges them.
pub(super) fn judge(system: &System, context: &Context<'_>) -> Result<(), Unread> {
    let tree = &system.tree;
    if !has_word(&system.cmdline, "rw") {
        for path in MOUNT_POINTS {
            if !tree.meta(path)?.is_some_and(|meta| meta.is_folder()) {
                context.find_in(
                    &rules::SYSTEM_FILE,
                    path,
                    format!("there is no folder `{path}`, without which init stops"),
                );
            }
        }
    }
    for path in COMMON {
        if tree
            .meta(path)?
            .is_some_and(|meta| meta.is_folder() && meta.mode & 0o001 == 0)
        {
            context.find_in(
                &rules::SYSTEM_FILE,
                path,
                format!("only root may enter `{path}`, so that nobody else can work or log in"),
            );
        }
    }
    if tree.exists_as_link("/home")? && !tree.exists("/home")? {
        let message = "`/home` is a link to nowhere, so that no user can be made";
        context.find_in(&rules::SYSTEM_FILE, "/home", message);
    }
    Ok(())
}

/// Judges what udev goes by, without which no driver is loaded and no device known to systemd.
pub(super) fn judge_udev(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    for name in UDEV_RULES {
        let paths = UDEV_FOLDERS.map(|folder| format!("{folder}/{name}"));
        let mut found = None;
        // A file takes the place of one of the same name in a later folder, an empty one as well.
        for path in &paths {
            if found.is_none() && tree.exists_as_link(path)? {
                found = Some(
                    tree.meta(path)?
                        .is_some_and(|meta| meta.is_file() && meta.size > 0),
                );
            }
        }
        if found != Some(true) {
            let message =
                format!("udev has no rules `{name}`, without which devices are not brought up");
            context.find_in(&rules::SYSTEM_FILE, &paths[1], message);
        }
    }
    Ok(())
}

/// Judges that users are looked for in `/etc/passwd`: nsswitch.conf(5).
pub(super) fn judge_users(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let path = "/etc/nsswitch.conf";
    let text = tree.text(path)?.unwrap_or_default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let Some(("passwd", services)) =
            line.split_once(':').map(|(name, rest)| (name.trim(), rest))
        else {
            continue;
        };
        let known = ["files", "compat", "db", "altfiles", "usrfiles"];
        if !services
            .split_whitespace()
            .any(|service| known.contains(&service))
        {
            let message = format!(
                "users are not looked for in `/etc/passwd` (`{}`)",
                line.trim()
            );
            context.find_at(&rules::NSSWITCH, path, number, message);
        }
    }
    Ok(())
}

/// Judges that SELinux has a policy where it is to enforce one: without it systemd stops.
pub(crate) fn judge_selinux(
    system: &System,
    drivers: Option<&Drivers>,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let path = "/etc/selinux/config";
    let Some(text) = system.tree.text(path)? else {
        return Ok(());
    };
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
        lines
            .rfind(|(found, _)| found.trim() == key)
            .map_or("", |(_, value)| value.trim())
    };
    let off = ["selinux", "enforcing"]
        .iter()
        .any(|name| last(&system.cmdline, name) == Some("0"));
    let enforces = value("SELINUX").eq_ignore_ascii_case("enforcing") && !off;
    let config = drivers.map_or("", Drivers::config);
    if !enforces || !is_selinux(&system.cmdline, config, context.tools.get().family) {
        return Ok(());
    }
    let folder = format!("/etc/selinux/{}/policy", value("SELINUXTYPE"));
    let policies = system.tree.list(&folder)?;
    if !policies.iter().any(|name| name.starts_with("policy.")) {
        context.find_in(
            &rules::SELINUX_POLICY,
            path,
            format!("SELinux is to enforce its policy, and there is none in `{folder}`"),
        );
    }
    Ok(())
}

/// Whether the kernel takes SELinux of the modules of which one only can be taken.
fn is_selinux(cmdline: &str, config: &str, family: Family) -> bool {
    let setting = |key: &str| {
        let mut lines = config.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value.trim_matches('"'))
    };
    let first_of = |list: &str| {
        let exclusive = ["selinux", "apparmor", "smack", "tomoyo"];
        list.split(',').find(|name| exclusive.contains(name)) == Some("selinux")
    };
    match (last(cmdline, "lsm"), last(cmdline, "security")) {
        (Some(list), _) => first_of(list),
        (None, Some(name)) => name == "selinux",
        (None, None) => match setting("CONFIG_LSM") {
            Some(list) => first_of(list),
            None => family == Family::RedHat,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_security_module_is_taken() {
        let debian = "CONFIG_LSM=\"landlock,lockdown,yama,apparmor,selinux,smack\"\n";
        let fedora = "CONFIG_LSM=\"lockdown,yama,integrity,selinux,bpf,landlock\"\n";
        assert!(!is_selinux("ro", debian, Family::Debian));
        assert!(is_selinux("ro security=selinux", debian, Family::Debian));
        assert!(is_selinux("ro", fedora, Family::RedHat));
        assert!(!is_selinux("ro lsm=yama,apparmor", fedora, Family::RedHat));
        assert!(is_selinux("ro", "", Family::RedHat) && !is_selinux("ro", "", Family::Suse));
    }
}
