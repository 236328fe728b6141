//! Rules of the stage "cmdline".

rules! {
    Cmdline;
    CMDLINE_CONSOLE: "cmdline-console", Warning, SystemRequirements,
        "`console=ttyS0` is not on the command line of the default kernel.",
        "add `console=ttyS0` to the command line: change {args}";
    CMDLINE_CONSOLE_ORDER: "cmdline-console-order", Warning, SerialConsole,
        "The last `console=` is not the serial port: what init and its services say, and the shell of a rescue, is not seen in Azure's serial console.",
        "put `console=ttyS0` last on the command line: change {args}";
    CMDLINE_EARLYPRINTK: "cmdline-earlyprintk", Warning, SystemRequirements,
        "`earlyprintk=ttyS0` is not on the command line.",
        "add `earlyprintk=ttyS0` to the command line: change {args}";
    CMDLINE_ROOTDELAY: "cmdline-rootdelay", Warning, SystemRequirements,
        "`rootdelay=300` is not on the command line. Not asked for where initramfs-tools made the initial RAM disk.",
        "add `rootdelay=300` to the command line: change {args}";
    CMDLINE_IFNAMES: "cmdline-ifnames", Info, SystemRequirements,
        "`net.ifnames=0` is not on the command line.",
        "add `net.ifnames=0` where names such as `eth0` are relied on: change {args}";
    CMDLINE_RHGB: "cmdline-rhgb", Warning, SystemRequirements,
        "`rhgb` is on the command line.",
        "remove `rhgb` from the kernel command line";
    CMDLINE_QUIET: "cmdline-quiet", Warning, SystemRequirements,
        "`quiet` is on the command line.",
        "remove `quiet` from the kernel command line";
    CMDLINE_CRASHKERNEL: "cmdline-crashkernel", Warning, SystemRequirements,
        "`crashkernel=auto` is on the command line.",
        "remove `crashkernel=auto`, which takes 128 MB of memory, where it is not needed";
    ROOT_MISSING: "root-missing", Error, KernelParameters,
        "`root=` names no file system of the image, so the boot ends in the shell of the initial RAM disk.",
        "correct `root=` (`blkid` shows the names): change {args}";
    ROOT_UNNAMED: "root-unnamed", Error, KernelParameters,
        "The command line names no root file system, and nothing else does.",
        "add `root=UUID=` and the identifier that `blkid` shows: change {args}";
    ROOT_UNNAMED_UNKNOWN: "root-unnamed-unknown", Unknown, KernelParameters,
        "The command line names no root file system; the initial RAM disk may find it by itself.",
        "check by hand that the initial RAM disk finds the root file system";
    ROOT_HIDDEN: "root-hidden", Unknown, KernelParameters,
        "The root file system is where it cannot be looked into: LVM, LUKS, RAID, another disk.",
        "check by hand that `root=` names the root file system";
    ROOT_TYPE: "root-type", Error, KernelParameters,
        "`rootfstype=` is not the type of the root file system.",
        "correct or remove `rootfstype=`: change {args}";
    ROOT_SUBVOLUME: "root-subvolume", Error, KernelParameters,
        "`rootflags=` names a subvolume of btrfs that is not there, so the root file system is not mounted.",
        "correct `rootflags=` (`btrfs subvolume list` shows the names): change {args}";
    ROOT_NOT_ACTIVATED: "root-lvm", Error, Dracut,
        "The command line lists the logical volumes that are activated, and that of the root file system is not one of them.",
        "add `rd.lvm.lv=` with group and name of the root file system's logical volume: change {args}";
    CMDLINE_RESCUE: "cmdline-rescue", Error, KernelParameters,
        "The command line ends the boot in a shell of the administrator.",
        "remove the word from the command line: change {args}";
    CMDLINE_BLACKLIST: "cmdline-blacklist", Error, KernelParameters,
        "The command line keeps a driver of Hyper-V from being loaded.",
        "remove the module from the list on the command line: change {args}";
    CMDLINE_HYPERV: "cmdline-hyperv", Error, KernelParameters,
        "A parameter keeps the kernel from finding the devices of Hyper-V.",
        "remove the parameter from the command line: change {args}";
    CMDLINE_CALLS: "cmdline-calls", Unknown, KernelParameters,
        "`initcall_blacklist=` keeps a part of the kernel from starting that is not known here.",
        "check by hand that the machine starts without it, or remove it: change {args}";
    CMDLINE_VOLATILE: "cmdline-volatile", Unknown, Systemd,
        "`systemd.volatile=` starts the system without the state that it has on disk.",
        "check by hand that agent, network and SSH server work so, or remove it: change {args}";
    CMDLINE_MEMORY: "cmdline-memory", Error, KernelParameters,
        "`mem=` leaves the kernel too little memory to start a system.",
        "remove `mem=` from the command line: change {args}";
    ROOT_FLAGS: "root-flags", Error, KernelParameters,
        "`rootflags=` has an option that the root file system refuses, so that it is not mounted.",
        "correct or remove `rootflags=`: change {args}";
    ROOT_FLAGS_UNKNOWN: "root-flags-unknown", Unknown, KernelParameters,
        "`rootflags=` has an option that is not known of the root file system.",
        "check by hand that the kernel's file system has the option, or remove it: change {args}";
    ROOTDELAY_LONG: "cmdline-rootdelay-long", Info, KernelParameters,
        "`rootdelay=` is there as the guide asks; with initramfs-tools every boot sleeps that long before it looks for the disk.",
        "nothing, or remove it where boots are to be quick: initramfs-tools waits 30 seconds for a disk that is late without it";
}
