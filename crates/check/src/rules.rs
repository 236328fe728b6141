//! Every rule a check knows, with the place it comes from and what to do.
//!
//! `docs/CHECK.md` has one row for each; a test keeps the two together.

use super::report::Level::{self, Error, Info, Unknown, Warning};

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
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
}

impl Source {
    /// The heading, or what stands for one in the table of rules.
    #[cfg(test)]
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::InstallationNotes => "General Linux installation notes",
            Self::KernelModules => "Install kernel modules without Hyper-V",
            Self::ResizeVhds => "Resize VHDs",
            Self::KernelRequirements => "Linux kernel requirements",
            Self::LinuxAgent => "Azure Linux Agent",
            Self::SystemRequirements => "General Linux system requirements",
            Self::AzureLimits => "(Azure's limits)",
        }
    }
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) level: Level,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by the test of docs/CHECK.md")
    )]
    pub(super) source: Source,
    pub(super) remedy: &'static str,
}

macro_rules! rules {
    ($($name:ident: $id:literal, $level:ident, $source:ident, $remedy:literal;)*) => {
        $(pub(super) const $name: Rule = Rule {
            id: $id,
            level: $level,
            source: Source::$source,
            remedy: $remedy,
        };)*

        /// All rules, in the order of the document.
        #[cfg(test)]
        pub(super) const ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    CONTAINER: "container", Error, InstallationNotes,
        "convert it with `qemu-img convert -O raw`, or decompress it, and present the raw image";
    VHD_COOKIE: "vhd-cookie", Error, AzureLimits,
        "it is a raw image; name it so, and present it with `vhdfs mount`";
    VHD_CHECKSUM: "vhd-checksum", Error, AzureLimits,
        "restore the file, or cut off the footer and present the raw disk before it";
    VHD_TYPE: "vhd-type", Error, InstallationNotes,
        "convert it with `qemu-img convert -f vpc -O raw`, and present the raw image";
    VHD_CURRENT_SIZE: "vhd-current-size", Error, ResizeVhds,
        "cut off the footer and present the raw disk before it";
    VHD_GEOMETRY_SIZE: "vhd-geometry-size", Error, ResizeVhds,
        "convert it with `qemu-img convert -f vpc -O raw`, and present the raw image";
    VHD_FIELD: "vhd-field", Warning, AzureLimits,
        "cut off the footer and present the raw disk before it";
    SIZE_ALIGNMENT: "size-alignment", Error, InstallationNotes,
        "cut off the footer and present the raw disk before it, which pads it";
    SIZE_PADDING: "size-padding", Info, InstallationNotes,
        "nothing: the view is padded";
    SIZE_UPLOAD: "size-upload", Info, AzureLimits,
        "give this number to `az disk create --upload-size-bytes`";
    SIZE_MINIMUM: "size-minimum", Error, AzureLimits,
        "enlarge the image with `truncate` or `qemu-img resize`";
    SIZE_MAXIMUM: "size-maximum", Error, AzureLimits,
        "shrink the disk";
    SIZE_GUIDE: "size-guide", Warning, InstallationNotes,
        "shrink the disk, or upload it straight to a managed disk";
    SIZE_MBR: "size-mbr", Warning, AzureLimits,
        "shrink the disk, or use a GPT and generation 2";
    SIZE_OS_DISK: "size-os-disk", Warning, AzureLimits,
        "shrink the disk, or use it as a data disk with an uploader that takes it";
    TABLE_MISSING: "table-missing", Error, AzureLimits,
        "check that this is the image of a whole, bootable disk";
    TABLE_FILE_SYSTEM: "table-file-system", Warning, InstallationNotes,
        "install to a disk with a partition table";
    TABLE_4KN: "table-4kn", Error, AzureLimits,
        "rebuild the image with sectors of 512 bytes";
    TABLE_4KN_DATA: "table-4kn-data", Warning, AzureLimits,
        "attach it as a disk with sectors of 4,096 bytes, or rebuild it with 512";
    GPT_DAMAGED: "gpt-damaged", Error, AzureLimits,
        "repair the table with `gdisk` or `sgdisk`";
    GPT_BACKUP_DAMAGED: "gpt-backup-damaged", Warning, AzureLimits,
        "present the raw image with `--gpt relocate`; or pad it to whole MiB and run `sgdisk -e` \
         before it becomes a VHD";
    GPT_BACKUP_POSITION: "gpt-backup-position", Warning, AzureLimits,
        "present the raw image with `--gpt relocate`; or pad it to whole MiB and run `sgdisk -e` \
         before it becomes a VHD";
    GPT_COPIES: "gpt-copies", Warning, AzureLimits,
        "decide with `gdisk` which copy is right";
    PARTITION_RANGE: "partition-range", Error, AzureLimits,
        "restore the whole image, or repair the partition table";
    PARTITION_OVERLAP: "partition-overlap", Error, AzureLimits,
        "repair the partition table";
    BIOS_BOOT_CODE: "bios-boot-code", Error, InstallationNotes,
        "install a boot loader for BIOS, such as with `grub-install --target=i386-pc`, or use \
         generation 2";
    BIOS_BOOT_PARTITION: "bios-boot-partition", Error, InstallationNotes,
        "add a BIOS boot partition and install GRUB into it, or use generation 2";
    EFI_TABLE: "efi-table", Error, InstallationNotes,
        "convert the disk to GPT, or use generation 1";
    EFI_PARTITION: "efi-partition", Error, InstallationNotes,
        "add an EFI system partition with a boot loader, or use generation 1";
    EFI_LOADER: "efi-loader", Error, InstallationNotes,
        "install the loader to the removable path, such as with `grub-install --removable`";
    EFI_UNREADABLE: "efi-unreadable", Unknown, InstallationNotes,
        "look whether the partition holds `/EFI/BOOT/BOOTX64.EFI`";
    LVM: "lvm", Warning, InstallationNotes,
        "use standard partitions on the OS disk";
    RAID: "raid", Warning, InstallationNotes,
        "use standard partitions on the OS disk";
    LUKS: "luks", Warning, AzureLimits,
        "use an unencrypted OS disk: nobody can enter a passphrase at boot";
    SWAP_PARTITION: "swap-partition", Error, InstallationNotes,
        "remove it and let the agent or cloud-init make swap on the resource disk";
    ROOT_UNKNOWN: "root-unknown", Unknown, SystemRequirements,
        "check by hand: kernel command line, Hyper-V modules in the initrd, agent, SSH, \
         `/etc/fstab`, network rules";
    ROOT_UNREADABLE: "root-unreadable", Unknown, SystemRequirements,
        "run `e2fsck` on a copy, and check this topic by hand";
    BOOT_CONFIG: "boot-config", Unknown, SystemRequirements,
        "check by hand: kernel command line, kernel, Hyper-V modules in its initrd";
    CMDLINE_CONSOLE: "cmdline-console", Warning, SystemRequirements,
        "add `console=ttyS0` to GRUB_CMDLINE_LINUX and run `grub-mkconfig`";
    CMDLINE_EARLYPRINTK: "cmdline-earlyprintk", Warning, SystemRequirements,
        "add `earlyprintk=ttyS0` to GRUB_CMDLINE_LINUX and run `grub-mkconfig`";
    CMDLINE_ROOTDELAY: "cmdline-rootdelay", Warning, SystemRequirements,
        "add `rootdelay=300` to GRUB_CMDLINE_LINUX and run `grub-mkconfig`";
    CMDLINE_IFNAMES: "cmdline-ifnames", Info, SystemRequirements,
        "add `net.ifnames=0` to GRUB_CMDLINE_LINUX where names such as `eth0` are relied on";
    CMDLINE_RHGB: "cmdline-rhgb", Warning, SystemRequirements,
        "remove `rhgb` from the kernel command line";
    CMDLINE_QUIET: "cmdline-quiet", Warning, SystemRequirements,
        "remove `quiet` from the kernel command line";
    CMDLINE_CRASHKERNEL: "cmdline-crashkernel", Warning, SystemRequirements,
        "remove `crashkernel=auto`, which takes 128 MB of memory, where it is not needed";
    KERNEL_NUMA: "kernel-numa", Error, InstallationNotes,
        "add `numa=off` to the kernel command line, or use a newer kernel";
    KERNEL_VERSION: "kernel-version", Warning, KernelRequirements,
        "use a kernel of 3.8 or newer, or one with the drivers ported back";
    KERNEL_UNKNOWN: "kernel-unknown", Unknown, KernelRequirements,
        "check by hand that the kernel has the Hyper-V drivers, UDF and VFAT";
    HV_VMBUS: "hv-vmbus", Error, KernelModules,
        "rebuild the initrd, such as with `dracut --add-drivers \"hv_vmbus hv_netvsc hv_storvsc\"`";
    HV_STORVSC: "hv-storvsc", Error, KernelModules,
        "rebuild the initrd, such as with `dracut --add-drivers \"hv_vmbus hv_netvsc hv_storvsc\"`";
    HV_NETVSC: "hv-netvsc", Error, SystemRequirements,
        "install a kernel that has the module";
    INITRD_UNREADABLE: "initrd-unreadable", Unknown, KernelModules,
        "look with `lsinitrd` or `lsinitramfs` whether it holds hv_vmbus and hv_storvsc";
    UDF: "udf", Error, InstallationNotes,
        "install a kernel with the `udf` module";
    UDF_CUSTOM_DATA: "udf-custom-data", Warning, InstallationNotes,
        "install a kernel with the `udf` module, and remove rules against it";
    UDF_BLOCKED: "udf-blocked", Error, LinuxAgent,
        "remove the rule for `udf` from `/etc/modprobe.d`";
    VFAT: "vfat", Error, InstallationNotes,
        "install a kernel with the `vfat` module";
    VFAT_BLOCKED: "vfat-blocked", Error, LinuxAgent,
        "remove the rule for `vfat` from `/etc/modprobe.d`";
    AGENT_MISSING: "agent-missing", Error, SystemRequirements,
        "install the Azure Linux Agent or cloud-init";
    AGENT_DISABLED: "agent-disabled", Error, SystemRequirements,
        "enable it, such as with `systemctl enable waagent`";
    AGENT_PROVISIONING: "agent-provisioning", Error, SystemRequirements,
        "install cloud-init with the data source Azure, or set `Provisioning.Agent=auto` in \
         `/etc/waagent.conf`";
    AGENT_EXTENSIONS: "agent-extensions", Info, LinuxAgent,
        "install the Azure Linux Agent where extensions are needed";
    AGENT_VERSION: "agent-version", Info, LinuxAgent,
        "compare it with the minimum that Azure supports";
    CLOUD_INIT_DATASOURCE: "cloud-init-datasource", Error, SystemRequirements,
        "add `Azure` to `datasource_list` in `/etc/cloud/cloud.cfg.d`";
    WAAGENT_CONF: "waagent-conf", Warning, SystemRequirements,
        "restore `/etc/waagent.conf` from the agent's package";
    WAAGENT_SWAP: "waagent-swap", Warning, SystemRequirements,
        "set `ResourceDisk.Format=y` as well, or `ResourceDisk.EnableSwap=n`";
    WAAGENT_CLOUD_INIT: "waagent-cloud-init", Warning, SystemRequirements,
        "set `ResourceDisk.Format=n` and `ResourceDisk.EnableSwap=n`";
    FSTAB_SWAP: "fstab-swap", Error, SystemRequirements,
        "remove the line, and let the agent or cloud-init make swap on the resource disk";
    SSH_MISSING: "ssh-missing", Error, SystemRequirements,
        "install an SSH server";
    SSH_DISABLED: "ssh-disabled", Error, SystemRequirements,
        "enable it, such as with `systemctl enable ssh` or `sshd`";
    NETWORK_RULES: "network-rules", Warning, InstallationNotes,
        "remove the file: the machine in Azure has another network card";
    NETWORK_MAC: "network-mac", Warning, InstallationNotes,
        "remove the hardware address: the machine in Azure has another network card";
    REMAINS_HOST_KEYS: "remains-host-keys", Info, SystemRequirements,
        "run `waagent -deprovision` or `cloud-init clean`, or remove `/etc/ssh/ssh_host_*`";
    REMAINS_MACHINE_ID: "remains-machine-id", Info, SystemRequirements,
        "empty `/etc/machine-id`";
    REMAINS_HISTORY: "remains-history", Info, SystemRequirements,
        "remove the shell histories";
    REMAINS_LOG: "remains-log", Info, SystemRequirements,
        "remove `/var/log/waagent.log`";
    REMAINS_KEYS: "remains-authorized-keys", Info, InstallationNotes,
        "remove the public keys";
}
