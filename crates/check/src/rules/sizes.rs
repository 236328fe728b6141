//! Rules of the stage "kernel" for the sizes of machines that the guide does not know.

rules! {
    Kernel;
    SIZES_NVME: "sizes-nvme", Warning, Nvme,
        "The kernel has no driver for NVMe: machines of the sizes whose disks are NVMe (v6 and later, and some before) do not boot from it.",
        "install a kernel with the `nvme` module";
    SIZES_NVME_INITRD: "sizes-nvme-initrd", Warning, Nvme,
        "The initial RAM disk has no driver for NVMe: machines of the sizes whose disks are NVMe do not find their root file system.",
        "add `nvme` to the initial RAM disk (initramfs-tools: a line in `/etc/initramfs-tools/modules`; dracut: `add_drivers+=\" nvme \"` in `/etc/dracut.conf.d`), and run {initrd}";
    SIZES_PCI: "sizes-pci", Warning, Accelerated,
        "The kernel has no driver for PCI devices of Hyper-V, which NVMe disks, GPUs and accelerated networking come through.",
        "install a kernel with the `pci-hyperv` module";
    SIZES_MANA: "sizes-mana", Warning, Mana,
        "The kernel has no driver for the Microsoft Azure Network Adapter: on such hardware the network is slow.",
        "install a kernel of 6.2 or newer with the `mana` module";
    PTP_CLOCK: "ptp-clock", Warning, TimeSync,
        "The kernel has no services of Hyper-V, so there is no clock device of the host (`/dev/ptp_hyperv`), and the machine cannot be shut down in order.",
        "install a kernel with the `hv_utils` module";
}
