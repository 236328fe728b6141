//! Rules of the stage "system".

rules! {
    System;
    ROOT_UNKNOWN: "root-unknown", Unknown, SystemRequirements,
        "No root file system that can be looked into: only ext2, ext3 and ext4 are.",
        "check by hand: kernel command line, Hyper-V modules in the initrd, agent, SSH, `/etc/fstab`, network rules";
    ROOT_UNREADABLE: "root-unreadable", Unknown, SystemRequirements,
        "The root file system is damaged where a topic needs it.",
        "run `e2fsck` on a copy, and check this topic by hand";
    FSTAB_SWAP: "fstab-swap", Error, SystemRequirements,
        "`/etc/fstab` has swap on the OS disk.",
        "remove the line, and let the agent or cloud-init make swap on the resource disk";
    FSTAB_DEVICE: "fstab-device", Error, Fstab,
        "A required line of `/etc/fstab` mounts what is not there; the boot waits, and ends in the emergency shell.",
        "correct the line (`blkid` shows the names), remove it, or add `nofail` to its options";
    FSTAB_TYPE: "fstab-type", Error, Fstab,
        "A required line of `/etc/fstab` mounts a file system as another than it is, or with an option that it refuses.",
        "correct the type in the line, or write `auto`, and remove the option";
    FSTAB_SUBVOLUME: "fstab-subvolume", Error, Fstab,
        "A required line of `/etc/fstab` names a subvolume of btrfs that is not there.",
        "correct the line, or add `nofail`";
    FSTAB_UNKNOWN: "fstab-unknown", Unknown, Fstab,
        "A required line of `/etc/fstab` could not be followed.",
        "check by hand that the device is there, or add `nofail` to its options";
    FSTAB_FORM: "fstab-form", Warning, Fstab,
        "A line of `/etc/fstab` cannot be read.",
        "correct or remove the line";
    FSTAB_ROOT: "fstab-root", Error, Fstab,
        "The root file system stays read-only, as its line in `/etc/fstab` is wrong or missing.",
        "correct the line of `/` (`blkid` shows the names)";
    FSTAB_ROOT_NAME: "fstab-root-name", Warning, Fstab,
        "The line of the root file system names another than the one that is started from, or another type.",
        "correct the line of `/` (`blkid` shows the names)";
    ROOT_READ_ONLY: "root-read-only", Unknown, Fstab,
        "The root file system stays read-only; few systems are made for that.",
        "check by hand that agent, network and SSH server work so";
    FSTAB_HIDES: "fstab-hides", Error, Fstab,
        "A line of `/etc/fstab` hides a folder of the system, or forbids its programs.",
        "remove the line, or the option `noexec`";
    MODULES_DISABLED: "modules-disabled", Unknown, KernelSysctl,
        "A setting of `sysctl.d` keeps the kernel from loading modules while the system starts; which were loaded by then is not known.",
        "remove `kernel.modules_disabled` from the file; set it by a service that starts at the end of the boot";
    SPACE_FULL: "space-full", Error, SystemRequirements,
        "The root file system is full; agent, network and SSH server cannot write.",
        "remove files, or enlarge the file system";
    SPACE_LOW: "space-low", Info, SystemRequirements,
        "Little space is left on the root file system, unless it grows at the first boot.",
        "remove files, or enlarge the file system";
    NO_ROOT_USER: "no-root-user", Error, Systemd,
        "There is no administrator, as whom all services run.",
        "restore `/etc/passwd`";
    SYSTEM_FILE: "system-file", Error, Systemd,
        "A file is missing that every system needs.",
        "restore the file from its package";
    NSSWITCH: "nsswitch", Error, Nsswitch,
        "Users are not looked for in `/etc/passwd`, so that no service finds the user as whom it runs.",
        "add `files` to the line `passwd:` of `/etc/nsswitch.conf`";
    INIT: "init", Error, Linker,
        "The first program of the system is not there, cannot run, or is none that starts services.",
        "install the package of init again, such as `systemd-sysv`";
    INIT_NAMED: "init-named", Warning, Initramfs,
        "`init=` names a program that is not there; the initial RAM disk starts `/sbin/init` in its place.",
        "correct or remove `init=`: change {args}";
    DEFAULT_TARGET: "default-target", Error, Systemd,
        "The target that is started is missing, masked, or one without services.",
        "set it with `systemctl --root=DIR set-default multi-user.target`";
    DEFAULT_TARGET_UNKNOWN: "default-target-unknown", Unknown, Systemd,
        "The target that is started is one of the system's own.",
        "check by hand that it starts agent, network and SSH server";
    SELINUX_POLICY: "selinux-policy", Error, Systemd,
        "SELinux is to enforce a policy that is not there; systemd stops.",
        "install `selinux-policy-targeted` with {install}, or set `SELINUX=permissive` in `/etc/selinux/config`";
    CORE_UNIT: "core-unit", Error, Systemd,
        "A unit is missing, masked or broken without which nothing comes up.",
        "unmask it with `systemctl --root=DIR unmask` and its name, or install its package again with {install}";
}
