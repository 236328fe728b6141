//! Rules of the stage "kernel".

rules! {
    Kernel;
    KERNEL_NUMA: "kernel-numa", Error, InstallationNotes,
        "The kernel is older than 2.6.37 (2.6.32-504 of Red Hat) and not started with `numa=off`.",
        "add `numa=off` to the kernel command line, or use a newer kernel";
    KERNEL_VERSION: "kernel-version", Warning, KernelRequirements,
        "The kernel is older than 3.8 (2.6.32-358 of Red Hat).",
        "use a kernel of 3.8 or newer, or one with the drivers ported back";
    KERNEL_UNKNOWN: "kernel-unknown", Unknown, KernelRequirements,
        "The version or the drivers of the default kernel cannot be found.",
        "check by hand that the kernel has the Hyper-V drivers, UDF and VFAT";
    KERNEL_MISSING: "kernel-missing", Error, Grub,
        "The boot loader starts a kernel that is not there.",
        "install the kernel again, or run {grub}";
    KERNEL_BROKEN: "kernel-broken", Error, BootProtocol,
        "The file of the kernel is empty, cut off, damaged, or no kernel.",
        "install the kernel again";
    KERNEL_MODULES: "kernel-modules", Error, InstallationNotes,
        "The modules of the kernel that is started are not there; without them it has no network and no file system of the EFI system partition.",
        "install the modules of this kernel, or start the kernel whose modules are there";
    SECURE_BOOT_KERNEL: "secure-boot-kernel", Error, TrustedLaunch,
        "Secure Boot is asked for, and the kernel is not signed.",
        "install the signed kernel of the distribution, or use a machine without Secure Boot";
}
