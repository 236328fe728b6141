//! What the init of an initial RAM disk goes by: scripts that it reads, rules of udev, and units and
//! programs of systemd.
//!
//! Source: bootup(7), "Bootup in the initrd"; initramfs-tools(7); the kernel calls `/sbin/modprobe`.

use std::collections::BTreeSet;

use super::{Initrd, Needs, module_of};
use crate::context::Context;
use crate::drivers::Driver;
use crate::rules::initrd as rules;
use crate::unread::Unread;

/// Units by which systemd comes from the initial RAM disk to the system.
const UNITS: [&str; 7] = [
    "initrd.target",
    "initrd-cleanup.service",
    "initrd-parse-etc.service",
    "initrd-switch-root.service",
    "initrd-switch-root.target",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
];
const UNIT_FOLDERS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Programs that these run, by their names in the folders of programs.
const PROGRAMS: [&str; 3] = ["mount", "systemctl", "sh"];
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// What every script of initramfs-tools reads.
const FUNCTIONS: &str = "/scripts/functions";
/// Its scripts, and programs by which they find the root and leave for it.
const OF_INITRAMFS_TOOLS: [(&str, &str); 3] = [
    (FUNCTIONS, "blkid"),
    ("/scripts/local", "mount"),
    ("/init", "run-init"),
];
/// What makes a unit of the command line's `root=`.
const GENERATORS: [&str; 2] = [
    "/usr/lib/systemd/system-generators/systemd-fstab-generator",
    "/lib/systemd/system-generators/systemd-fstab-generator",
];
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
/// By this file systemd knows that it is in an initial RAM disk.
const RELEASE: &str = "/etc/initrd-release";
const RULE_FOLDERS: [&str; 3] = [
    "/etc/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];
/// Rules that load drivers.
const DRIVER_RULES: &str = "80-drivers.rules";
/// Rules that give names to disks, and tell systemd of them.
const SYSTEMD_RULES: [&str; 2] = ["60-persistent-storage.rules", "99-systemd.rules"];
pub(super) const UDEVD: [&str; 3] = [
    "/usr/lib/systemd/systemd-udevd",
    "/lib/systemd/systemd-udevd",
    "/sbin/udevd",
];

impl Initrd {
    /// Judges them.
    pub(super) fn judge_parts(
        &self,
        needs: &Needs<'_>,
        context: &Context<'_>,
    ) -> Result<(), Unread> {
        let find = |path: &str, why: String| context.find_in(&rules::INITRD_PARTS, path, why);
        for path in self.sourced(needs.cmdline)? {
            if !self.tree.exists(&path)? {
                find(
                    &path,
                    format!("`/init` of the initrd reads `{path}`, which is not there"),
                );
            }
        }
        if self.tree.exists(FUNCTIONS)? {
            for (script, name) in OF_INITRAMFS_TOOLS {
                let runs = self
                    .tree
                    .text(script)?
                    .is_some_and(|text| runs(&text, name));
                if runs && !self.has(&PROGRAM_FOLDERS, name)? {
                    find(name, format!("there is no program `{name}` in the initrd"));
                }
            }
            if crate::cmdline::last(needs.cmdline, "boot") == Some("nfs") {
                let why = "`boot=nfs` looks for the root on another machine";
                find("/scripts/nfs", why.to_owned());
            }
        }
        let is_systemd = self.is_systemd()?;
        if self.tree.exists_any(&UDEVD)? {
            let more = SYSTEMD_RULES.into_iter().filter(|_| is_systemd);
            for name in [DRIVER_RULES].into_iter().chain(more) {
                if !self.has(&RULE_FOLDERS, name)? {
                    find(name, format!("udev of the initrd has no rules `{name}`"));
                }
            }
        }
        if is_systemd {
            for name in UNITS {
                if !self.has(&UNIT_FOLDERS, name)? {
                    find(name, format!("systemd of the initrd has no unit `{name}`"));
                }
            }
            for name in PROGRAMS {
                if !self.has(&PROGRAM_FOLDERS, name)? {
                    find(name, format!("there is no program `{name}` in the initrd"));
                }
            }
            if !self.tree.exists_any(&GENERATORS)? {
                let why =
                    "systemd of the initrd has no `systemd-fstab-generator`, which mounts the root";
                find(GENERATORS[0], why.to_owned());
            }
            if !self.tree.exists(RELEASE)? {
                find(
                    RELEASE,
                    format!("there is no `{RELEASE}`, by which systemd knows the initrd"),
                );
            }
        }
        let file_system = needs.root.and_then(|root| module_of(root.content));
        if let Some((module, symbols)) = file_system
            && needs.drivers.find(module, symbols) == Driver::Module
            && !self.tree.exists("/sbin/modprobe")?
        {
            let why = format!(
                "there is no `/sbin/modprobe` in the initrd, with which the kernel loads `{module}`"
            );
            find("/sbin/modprobe", why);
        }
        Ok(())
    }

    pub(super) fn is_systemd(&self) -> Result<bool, Unread> {
        let init = self
            .tree
            .resolve("/init")?
            .map(|(path, _)| path)
            .unwrap_or_default();
        Ok(SYSTEMD.contains(&init.as_str()))
    }

    fn has(&self, folders: &[&str], name: &str) -> Result<bool, Unread> {
        for folder in folders {
            if self.tree.exists(&format!("{folder}/{name}"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Files that a script as `/init` reads whatever happens: a shell ends where one is not there.
    fn sourced(&self, cmdline: &str) -> Result<BTreeSet<String>, Unread> {
        let text = self
            .tree
            .text("/init")?
            .filter(|text| text.starts_with("#!"))
            .unwrap_or_default();
        let named = text.lines().filter_map(|line| line.strip_prefix(". /"));
        let named = named.filter_map(|rest| rest.split([' ', ';']).next());
        let mut paths: BTreeSet<_> = named
            .filter(|path| !path.contains('$'))
            .map(|path| format!("/{path}"))
            .collect();
        if text.contains("/scripts/${BOOT}") {
            let kind = crate::cmdline::last(cmdline, "boot").unwrap_or("local");
            paths.insert(format!("/scripts/{kind}"));
        }
        Ok(paths)
    }
}

/// Whether a script has a word that is no comment.
fn runs(script: &str, program: &str) -> bool {
    let mut lines = script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.any(|line| {
        line.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '`' | ';' | '"'))
            .any(|word| word == program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_scripts() {
        assert!(runs("x=$(blkid -o value)\n", "blkid"));
        assert!(runs("\texec run-init \"$rootmnt\"\n", "run-init"));
        assert!(!runs("# blkid\n  # run-init\nmy_blkid x\n", "blkid"));
    }
}
