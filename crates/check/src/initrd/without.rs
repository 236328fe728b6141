//! A boot without an initial RAM disk.

use super::module_of;
use crate::context::Context;
use crate::drivers::{self, Drivers};
use crate::loader::Boot;
use crate::rules::initrd as rules;
use crate::volumes::Volume;

/// Judges a boot without an initial RAM disk: everything must be built into the kernel.
pub(crate) fn judge_none(
    boot: &Boot,
    drivers: &Drivers,
    root_name: &str,
    root: Option<&Volume>,
    context: &Context<'_>,
) {
    let find = |rule, message: String| context.find_at(rule, &boot.file, boot.line, message);
    if ["UUID=", "LABEL=", "/dev/disk/", "/dev/mapper/"]
        .iter()
        .any(|by| root_name.starts_with(by))
    {
        find(
            &rules::INITRD_NEEDED,
            format!(
                "there is no initrd, and without one the kernel does not know `root={root_name}`"
            ),
        );
    }
    if drivers.are_unknown() {
        find(
            &rules::INITRD_UNREADABLE,
            "there is no initrd, and the kernel's own drivers are not known".to_owned(),
        );
        return;
    }
    let file_system = root.and_then(|root| module_of(root.content));
    let wanted = [
        Some(("hv_vmbus", &["HYPERV", "HYPERV_VMBUS"][..])),
        Some(("hv_storvsc", &["HYPERV_STORAGE"])),
        Some(("sd_mod", &["BLK_DEV_SD"])),
        file_system,
    ];
    for (module, symbols) in wanted.into_iter().flatten() {
        if drivers.find(module, symbols) != drivers::Driver::BuiltIn {
            find(
                &rules::INITRD_NEEDED,
                format!("there is no initrd, and `{module}` is not built into the kernel"),
            );
        }
    }
}
