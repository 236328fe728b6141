//! Rules of the stage "initrd".

rules! {
    Initrd;
    HV_VMBUS: "hv-vmbus", Error, KernelModules,
        "`hv_vmbus` is neither in the kernel nor in its initrd.",
        "run {initrd} with all drivers: {drivers}";
    HV_STORVSC: "hv-storvsc", Error, KernelModules,
        "`hv_storvsc` is neither in the kernel nor in its initrd.",
        "run {initrd} with all drivers: {drivers}";
    INITRD_UNREADABLE: "initrd-unreadable", Unknown, KernelModules,
        "The initrd cannot be read to the end, and a Hyper-V module was not found before.",
        "look with `lsinitrd` or `lsinitramfs` whether it holds hv_vmbus and hv_storvsc";
    INITRD_MISSING: "initrd-missing", Error, Grub,
        "The boot loader loads an initial RAM disk that is not there.",
        "run {initrd}, or {grub}";
    INITRD_DAMAGED: "initrd-damaged", Error, Initramfs,
        "The initial RAM disk is empty, cut off or damaged.",
        "run {initrd}";
    INITRD_INIT: "initrd-init", Error, Initramfs,
        "The program that the kernel starts from the initial RAM disk, or udev in it, is not there or cannot run.",
        "run {initrd}";
    INITRD_PARTS: "initrd-parts", Error, Initramfs,
        "A script, rule, unit or program is not in the initial RAM disk by which its init comes to the root file system.",
        "run {initrd}";
    INITRD_MODULES: "initrd-modules", Error, Initramfs,
        "A driver of the disk or of the root file system, or something that it needs, is not in the initial RAM disk.",
        "run {initrd} with all drivers: {drivers}";
    INITRD_BLOCKED: "initrd-blocked", Error, Initramfs,
        "A file in the initial RAM disk keeps a driver of the disk from being loaded.",
        "remove the line from `/etc/modprobe.d`, and run {initrd}";
    INITRD_LVM: "initrd-lvm", Error, Dracut,
        "The root file system is on a logical volume, and the initial RAM disk cannot activate it.",
        "install LVM's package (`lvm2`), and run {initrd}";
    INITRD_WAITS: "initrd-waits", Error, Initramfs,
        "The initial RAM disk waits for a device of the machine that it was made on.",
        "run {initrd} with `hostonly=no` in `/etc/dracut.conf.d`";
    INITRD_ROOT: "initrd-root", Error, Initramfs,
        "A command line that is built into the initial RAM disk names a root file system that is not in the image.",
        "run {initrd} with `hostonly_cmdline=no` in `/etc/dracut.conf.d`";
    INITRD_NEEDED: "initrd-needed", Error, Initramfs,
        "There is no initial RAM disk, and the kernel cannot find its root file system without one.",
        "add an initrd, run {initrd} and {grub}";
}
