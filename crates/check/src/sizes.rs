//! Drivers that the current sizes of machines need, beyond those of the guide.
//!
//! Source: Microsoft's pages on NVMe, on MANA, and on time synchronization; the kernel's
//! `drivers/hv`, `drivers/pci/controller/Kconfig` and `drivers/net/ethernet/microsoft/Kconfig`.

use crate::context::Context;
use crate::drivers::{Driver, Drivers};
use crate::rules::{Rule, sizes as rules};

/// A driver: rule, module, symbols of the kernel's configuration.
const WANTED: &[(&Rule, &str, &[&str])] = &[
    (&rules::SIZES_NVME, "nvme", &["BLK_DEV_NVME"]),
    (&rules::SIZES_PCI, "pci_hyperv", &["PCI_HYPERV"]),
    (&rules::SIZES_MANA, "mana", &["MICROSOFT_MANA"]),
    (&rules::PTP_CLOCK, "hv_utils", &["HYPERV_UTILS"]),
];

/// Judges the drivers of a kernel of this release. `in_initrd` tells whether the initial RAM disk
/// has a module; `None` where it is not known.
pub(crate) fn judge(
    release: &str,
    drivers: &Drivers,
    in_initrd: Option<&dyn Fn(&str) -> bool>,
    context: &Context<'_>,
) {
    if drivers.are_unknown() {
        return;
    }
    for (rule, module, symbols) in WANTED {
        if drivers.find(module, symbols) == Driver::Missing {
            context.find(rule, format!("the kernel {release} has no `{module}`"));
        }
    }
    let is_module = drivers.find("nvme", &["BLK_DEV_NVME"]) == Driver::Module;
    if let Some(in_initrd) = in_initrd
        && is_module
        && !in_initrd("nvme")
    {
        context.find(
            &rules::SIZES_NVME_INITRD,
            format!("`nvme` is a module of the kernel {release}, and not in its initrd"),
        );
    }
}
