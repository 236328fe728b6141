//! Every rule a check knows, with its stage, the place it comes from and what to do.
//!
//! `docs/CHECK.md` is made from these tables; a test keeps the two together.

use crate::report::{Level, Stage};

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// A heading of Microsoft's guide "Prepare Linux for imaging in Azure".
    InstallationNotes,
    /// As above.
    KernelModules,
    /// As above.
    ResizeVhds,
    /// As above.
    KernelRequirements,
    /// As above.
    LinuxAgent,
    /// As above.
    SystemRequirements,
    /// Limits and messages of the service, which the guide does not have.
    AzureLimits,
    /// Microsoft's page on the versions of agents that it supports.
    AgentVersion,
    /// Microsoft's page on Trusted Launch.
    TrustedLaunch,
    /// A bound of this program.
    Own,
    /// Microsoft's page on disks that are NVMe.
    Nvme,
    /// Microsoft's page on its network adapter.
    Mana,
    /// Microsoft's page on the time of machines.
    TimeSync,
    /// An issue of the agent on the drive that its configuration comes on.
    DvdDrive,
    /// The kernel's documentation of serial consoles.
    SerialConsole,
    /// The UEFI Specification.
    Uefi,
    /// The GRUB manual.
    Grub,
    /// The kernel's documentation of its boot protocol.
    BootProtocol,
    /// The kernel's documentation of its parameters.
    KernelParameters,
    /// The kernel's documentation of its settings at run time.
    KernelSysctl,
    /// The kernel's documentation of the initial RAM file system.
    Initramfs,
    /// The manual of dracut's command line.
    Dracut,
    /// The manual of systemd.
    Systemd,
    /// The manual of fstab.
    Fstab,
    /// The manual of the dynamic linker.
    Linker,
    /// The documentation of the Azure Linux Agent.
    Waagent,
    /// The documentation of cloud-init.
    CloudInit,
    /// The documentation of azure-init.
    AzureInit,
    /// Microsoft's page on accelerated networking.
    Accelerated,
    /// The manual of OpenSSH's server.
    Sshd,
    /// The documentation of nftables.
    Nftables,
    /// The manual of the name service switch.
    Nsswitch,
    /// The manual of the program that makes users.
    Useradd,
}

impl Source {
    /// The heading of the guide, or the name of the page.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::InstallationNotes => "General Linux installation notes",
            Self::KernelModules => "Install kernel modules without Hyper-V",
            Self::ResizeVhds => "Resize VHDs",
            Self::KernelRequirements => "Linux kernel requirements",
            Self::LinuxAgent => "Azure Linux Agent",
            Self::SystemRequirements => "General Linux system requirements",
            Self::AzureLimits => "(Azure's limits)",
            Self::AgentVersion => "(versions of agents)",
            Self::TrustedLaunch => "(Trusted Launch)",
            Self::Own => "(bounds of a check)",
            Self::Nvme => "(NVMe disks)",
            Self::Mana => "(MANA)",
            Self::TimeSync => "(time sync)",
            Self::DvdDrive => "(WALinuxAgent#978)",
            Self::SerialConsole => "(kernel, serial console)",
            Self::Uefi => "(UEFI Specification, boot manager)",
            Self::Grub => "(GRUB manual)",
            Self::BootProtocol => "(Linux/x86 boot protocol)",
            Self::KernelParameters => "(kernel parameters)",
            Self::KernelSysctl => "(kernel, sysctl)",
            Self::Initramfs => "(kernel, initramfs)",
            Self::Dracut => "(dracut.cmdline)",
            Self::Systemd => "(systemd.unit)",
            Self::Fstab => "(systemd.mount, fstab)",
            Self::Linker => "(ld.so)",
            Self::Waagent => "(WALinuxAgent)",
            Self::CloudInit => "(cloud-init)",
            Self::AzureInit => "(azure-init)",
            Self::Accelerated => "(accelerated networking)",
            Self::Sshd => "(sshd_config)",
            Self::Nftables => "(nft)",
            Self::Nsswitch => "(nsswitch.conf)",
            Self::Useradd => "(useradd)",
        }
    }

    /// Address of the page.
    pub(crate) fn url(self) -> &'static str {
        match self {
            Self::InstallationNotes => concat!(guide!(), "#general-linux-installation-notes"),
            Self::KernelModules => concat!(guide!(), "#install-kernel-modules-without-hyper-v"),
            Self::ResizeVhds => concat!(guide!(), "#resize-vhds"),
            Self::KernelRequirements => concat!(guide!(), "#linux-kernel-requirements"),
            Self::LinuxAgent => concat!(guide!(), "#azure-linux-agent"),
            Self::SystemRequirements => concat!(guide!(), "#general-linux-system-requirements"),
            Self::AzureLimits => {
                "https://learn.microsoft.com/en-us/azure/virtual-machines/linux/disks-upload-vhd-to-managed-disk-cli"
            }
            Self::AgentVersion => {
                "https://learn.microsoft.com/en-us/troubleshoot/azure/virtual-machines/windows/support-extensions-agent-version"
            }
            Self::TrustedLaunch => {
                "https://learn.microsoft.com/en-us/azure/virtual-machines/trusted-launch"
            }
            Self::Own => "#what-is-followed-and-what-is-not",
            Self::Nvme => "https://learn.microsoft.com/en-us/azure/virtual-machines/nvme-linux",
            Self::Mana => {
                "https://learn.microsoft.com/en-us/azure/virtual-network/accelerated-networking-mana-overview"
            }
            Self::TimeSync => {
                "https://learn.microsoft.com/en-us/azure/virtual-machines/linux/time-sync"
            }
            Self::DvdDrive => "https://github.com/Azure/WALinuxAgent/issues/978",
            Self::SerialConsole => "https://docs.kernel.org/admin-guide/serial-console.html",
            Self::Uefi => "https://uefi.org/specs/UEFI/2.10/03_Boot_Manager.html",
            Self::Grub => "https://www.gnu.org/software/grub/manual/grub/grub.html",
            Self::BootProtocol => "https://docs.kernel.org/arch/x86/boot.html",
            Self::KernelSysctl => "https://docs.kernel.org/admin-guide/sysctl/kernel.html",
            Self::KernelParameters => "https://docs.kernel.org/admin-guide/kernel-parameters.html",
            Self::Initramfs => {
                "https://docs.kernel.org/driver-api/early-userspace/buffer-format.html"
            }
            Self::Dracut => "https://man7.org/linux/man-pages/man7/dracut.cmdline.7.html",
            Self::Systemd => {
                "https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html"
            }
            Self::Fstab => {
                "https://www.freedesktop.org/software/systemd/man/latest/systemd.mount.html"
            }
            Self::Linker => "https://man7.org/linux/man-pages/man8/ld.so.8.html",
            Self::Waagent => "https://github.com/Azure/WALinuxAgent#configuration-file-options",
            Self::CloudInit => {
                "https://docs.cloud-init.io/en/latest/reference/datasources/azure.html"
            }
            Self::AzureInit => "https://github.com/Azure/azure-init",
            Self::Accelerated => {
                "https://learn.microsoft.com/en-us/azure/virtual-network/accelerated-networking-how-it-works"
            }
            Self::Sshd => "https://man.openbsd.org/sshd_config",
            Self::Nsswitch => "https://man7.org/linux/man-pages/man5/nsswitch.conf.5.html",
            Self::Useradd => "https://man7.org/linux/man-pages/man8/useradd.8.html",
            Self::Nftables => "https://wiki.nftables.org/wiki-nftables/index.php/Main_Page",
        }
    }
}

/// One rule.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Rule {
    /// Name, which keeps its meaning.
    pub(crate) id: &'static str,
    /// Stage of the boot that it belongs to.
    pub(crate) stage: Stage,
    /// How much it matters where it is broken.
    pub(crate) level: Level,
    /// Where it comes from.
    pub(crate) source: Source,
    /// What a finding means, and why it matters.
    pub(crate) what: &'static str,
    /// What to do; `{grub}`, `{args}`, `{initrd}`, `{drivers}`, `{install}`, `{ssh}` and `{agent}`
    /// stand for commands and names of the system in the image.
    pub(crate) remedy: &'static str,
}

macro_rules! guide {
    () => {
        "https://learn.microsoft.com/en-us/azure/virtual-machines/linux/create-upload-generic"
    };
}
use guide;

macro_rules! rules {
    ($stage:ident; $($name:ident: $id:literal, $level:ident, $source:ident, $what:literal, $remedy:literal;)*) => {
        $(pub(crate) const $name: $crate::rules::Rule = $crate::rules::Rule {
            id: $id,
            stage: $crate::report::Stage::$stage,
            level: $crate::report::Level::$level,
            source: $crate::rules::Source::$source,
            what: $what,
            remedy: $remedy,
        };)*

        /// All rules of the stage, in the order of the document.
        pub(crate) const ALL: &[$crate::rules::Rule] = &[$($name),*];
    };
}

pub(crate) mod cmdline;
pub(crate) mod container;
pub(crate) mod firmware;
pub(crate) mod initrd;
pub(crate) mod kernel;
pub(crate) mod loader;
pub(crate) mod network;
pub(crate) mod provisioning;
pub(crate) mod reachable;
pub(crate) mod sizes;
pub(crate) mod system;

/// All rules, in the order of the stages.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    [
        container::ALL,
        firmware::ALL,
        loader::ALL,
        kernel::ALL,
        sizes::ALL,
        cmdline::ALL,
        initrd::ALL,
        system::ALL,
        provisioning::ALL,
        network::ALL,
        reachable::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The rule of a name.
pub(crate) fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

/// The table of rules in Markdown, as it stands in `docs/CHECK.md`.
pub fn document() -> String {
    let mut text = String::new();
    for stage in Stage::ALL {
        text.push_str(&format!(
            "\n### {}\n\n{}\n\n",
            stage.name(),
            stage.meaning()
        ));
        text.push_str("| id | level | what | source | remedy |\n| --- | --- | --- | --- | --- |\n");
        for rule in all().filter(|rule| rule.stage == stage) {
            text.push_str(&format!(
                "| `{}` | {} | {} | [{}]({}) | {} |\n",
                rule.id,
                rule.level,
                rule.what,
                rule.source.heading(),
                rule.source.url(),
                crate::family::Tools::default().fill(rule.remedy),
            ));
        }
    }
    text
}

/// A rule explained: what it says, how much it matters, where it comes from, what to do.
/// `None` where no rule has this name.
pub fn explain(id: &str) -> Option<String> {
    let rule = find(id)?;
    let meaning = match rule.level {
        Level::Error => "an image with it is not ready",
        Level::Unknown => "an image with it may be ready or not",
        Level::Warning => "an image with it is ready, and not as it should be",
        Level::Info => "worth knowing",
    };
    Some(format!(
        "{} ({}, stage {}): {meaning}\n\n{}\n\nto do: {}\nsource: {} {}\n",
        rule.id,
        rule.level,
        rule.stage.name(),
        rule.what,
        crate::family::Tools::default().fill(rule.remedy),
        rule.source.heading(),
        rule.source.url(),
    ))
}

/// Names of all rules, in the order of the document.
pub fn ids() -> impl Iterator<Item = &'static str> {
    all().map(|rule| rule.id)
}
