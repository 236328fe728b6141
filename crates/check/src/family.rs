//! The distribution in an image, for remedies in its own commands.

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

    /// A remedy with the commands of the family in it.
    pub(crate) fn fill(self, remedy: &str) -> String {
        let (grub, initrd, install) = match self {
            Self::Debian => (
                "`update-grub`",
                "`update-initramfs -u -k all` (dracut: `dracut -f --regenerate-all`)",
                "`apt-get install`",
            ),
            Self::RedHat => (
                "`grub2-mkconfig -o /boot/grub2/grub.cfg` (entries: `grubby --update-kernel=ALL`)",
                "`dracut -f --regenerate-all`",
                "`dnf install`",
            ),
            Self::Suse => (
                "`grub2-mkconfig -o /boot/grub2/grub.cfg`",
                "`dracut -f --regenerate-all`",
                "`zypper install`",
            ),
            Self::Other => (
                "`update-grub` or `grub2-mkconfig -o /boot/grub2/grub.cfg`",
                "`update-initramfs -u -k all` or `dracut -f --regenerate-all`",
                "the package manager",
            ),
        };
        remedy
            .replace("{grub}", grub)
            .replace("{initrd}", initrd)
            .replace("{install}", install)
    }
}

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
        assert!(Family::Debian.fill("run {grub}").ends_with("`update-grub`"));
    }
}
