//! The distribution in an image, for remedies in its own commands.

use crate::files::Tree;
use crate::unread::Unread;

/// Distributions that share their tools.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Family {
    /// Debian, Ubuntu and their relatives.
    Debian,
    /// Red Hat Enterprise Linux, Fedora, Azure Linux and their relatives.
    RedHat,
    /// SUSE Linux Enterprise and openSUSE.
    Suse,
    /// Any other.
    #[default]
    Other,
}

impl Family {
    /// The family that an `os-release` names.
    pub(crate) fn of(os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        let names = format!("{} {}", value("ID="), value("ID_LIKE="));
        let has = |names_of: &[&str]| {
            names
                .split_whitespace()
                .any(|name| names_of.contains(&name))
        };
        match () {
            () if has(&["debian", "ubuntu"]) => Self::Debian,
            () if has(&[
                "rhel",
                "fedora",
                "centos",
                "azurelinux",
                "mariner",
                "amzn",
                "ol",
            ]) =>
            {
                Self::RedHat
            }
            () if names.contains("suse") || has(&["sles"]) => Self::Suse,
            () => Self::Other,
        }
    }
}

/// The tools of a system, for remedies that work there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tools {
    /// Its distribution.
    pub(crate) family: Family,
    /// What makes its initial RAM disks.
    initrd: Maker,
    /// Whether its menu has entries after the Boot Loader Specification, which `grubby` changes.
    has_entries: bool,
}

/// What makes initial RAM disks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Maker {
    InitramfsTools,
    Dracut,
    Mkinitcpio,
    #[default]
    Unknown,
}

impl Tools {
    /// The tools in a system, whose `os-release` is given.
    pub(crate) fn read(tree: &Tree, os_release: &str) -> Result<Self, Unread> {
        let has = |name: &str| -> Result<bool, Unread> {
            Ok(tree.exists(&format!("/usr/sbin/{name}"))?
                || tree.exists(&format!("/usr/bin/{name}"))?)
        };
        let family = Family::of(os_release);
        // Debian's dracut has a program `update-initramfs` too; that of initramfs-tools comes with
        // `mkinitramfs`.
        let initrd = match () {
            () if has("mkinitramfs")? => Maker::InitramfsTools,
            () if has("dracut")? => Maker::Dracut,
            () if has("mkinitcpio")? => Maker::Mkinitcpio,
            () => Maker::Unknown,
        };
        let has_entries =
            family == Family::RedHat && !tree.list("/boot/loader/entries")?.is_empty();
        Ok(Self {
            family,
            initrd,
            has_entries,
        })
    }

    /// A remedy with the commands of the system in it.
    pub(crate) fn fill(self, remedy: &str) -> String {
        let (grub, install, ssh, agent) = match self.family {
            Family::Debian => (
                "`update-grub`",
                "`apt-get install --reinstall`",
                "`ssh`",
                "`walinuxagent`",
            ),
            Family::RedHat => (GRUB2, "`dnf reinstall`", "`sshd`", "`waagent`"),
            Family::Suse => (GRUB2, "`zypper install --force`", "`sshd`", "`waagent`"),
            Family::Other => (
                "`update-grub` or `grub2-mkconfig -o /boot/grub2/grub.cfg`",
                "the package manager",
                "`ssh` or `sshd`",
                "`walinuxagent` or `waagent`",
            ),
        };
        let initrd = match (self.initrd, self.family) {
            (Maker::InitramfsTools, _) => INITRAMFS_TOOLS.to_owned(),
            (Maker::Dracut, _) | (Maker::Unknown, Family::RedHat | Family::Suse) => {
                DRACUT.to_owned()
            }
            (Maker::Mkinitcpio, _) => "`mkinitcpio -P`".to_owned(),
            (Maker::Unknown, _) => format!("{INITRAMFS_TOOLS} or {DRACUT}"),
        };
        let all_drivers = match self.initrd {
            Maker::InitramfsTools => "`MODULES=most` in `/etc/initramfs-tools/initramfs.conf`",
            Maker::Dracut => "`hostonly=no` in `/etc/dracut.conf.d/azure.conf`",
            _ => {
                "`MODULES=most` in `/etc/initramfs-tools/initramfs.conf` or `hostonly=no` in \
                 `/etc/dracut.conf.d/azure.conf`"
            }
        };
        let args = match self.has_entries {
            true => {
                "the entries with `grubby --update-kernel=ALL --args=… --remove-args=…`".to_owned()
            }
            false => format!("`GRUB_CMDLINE_LINUX` in `/etc/default/grub`, and run {grub}"),
        };
        remedy
            .replace("{args}", &args)
            .replace("{grub}", grub)
            .replace("{initrd}", &initrd)
            .replace("{drivers}", all_drivers)
            .replace("{install}", install)
            .replace("{ssh}", ssh)
            .replace("{agent}", agent)
    }
}

const GRUB2: &str = "`grub2-mkconfig -o /boot/grub2/grub.cfg`";
/// Creating also works where the file is missing or damaged, which updating leaves alone.
const INITRAMFS_TOOLS: &str = "`update-initramfs -c -k all`";
const DRACUT: &str = "`dracut -f --regenerate-all`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        assert_eq!(Family::of("ID=debian\n"), Family::Debian);
        assert_eq!(
            Family::of("NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            Family::Debian
        );
        assert_eq!(
            Family::of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Family::RedHat
        );
        assert_eq!(
            Family::of("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"),
            Family::Suse
        );
        assert_eq!(Family::of("ID=alpine\n"), Family::Other);
    }

    #[test]
    fn remedies_have_the_commands_of_the_system() {
        let debian = Tools {
            family: Family::Debian,
            initrd: Maker::Dracut,
            has_entries: false,
        };
        assert_eq!(debian.fill("run {grub}"), "run `update-grub`");
        assert_eq!(debian.fill("run {initrd}"), format!("run {DRACUT}"));
        assert!(debian.fill("{args}").contains("update-grub"));
        let fedora = Tools {
            family: Family::RedHat,
            has_entries: true,
            ..Tools::default()
        };
        assert!(fedora.fill("{args}").contains("grubby") && fedora.fill("{ssh}") == "`sshd`");
        assert_eq!(fedora.fill("run {initrd}"), format!("run {DRACUT}"));
        let any = Tools::default().fill("{args} {grub} {initrd} {drivers} {install} {ssh} {agent}");
        assert!(!any.contains('{'), "{any}");
    }
}
