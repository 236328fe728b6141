//! What the firmware of a machine starts.

mod bios;
mod efi;
mod grub_core;
mod pe;
pub(crate) mod secure_boot;
mod signature;

use crate::context::Context;
use crate::grub::Place;
use crate::partitions::{Layout, Scheme};
use crate::report::Generation;
use crate::rules::firmware as rules;
use crate::volumes::Volumes;

pub(crate) use pe::Program;

/// The boot loader that the firmware starts.
#[derive(Debug)]
pub(crate) enum Start {
    /// GRUB.
    Grub(GrubStart),
    /// systemd-boot, from the EFI system partition on this device.
    SystemdBoot {
        /// The device as GRUB would name it.
        device: String,
    },
    /// A kernel with command line and initial RAM disk in one program.
    UnifiedKernel(Place),
}

/// How GRUB begins.
#[derive(Debug, Default)]
pub(crate) struct GrubStart {
    /// `pc` or `efi`.
    pub(crate) platform: &'static str,
    /// Script that is built into it.
    pub(crate) script: Option<String>,
    /// Device that its prefix is on where the script does not set it.
    pub(crate) device: String,
    /// Folder of its configuration and modules, perhaps with a device in front.
    pub(crate) prefix: String,
    /// Folder that it was started from.
    pub(crate) folder: String,
    /// Names of the modules that are built into it.
    pub(crate) modules: Vec<String>,
    /// The configuration in a disk in memory that is built into it.
    pub(crate) memdisk_script: Option<String>,
}

/// Follows the firmware; `None` where it starts nothing, or nothing that can be followed.
pub(crate) fn follow(
    layout: &Layout,
    volumes: &Volumes,
    generation: Generation,
    context: &Context<'_>,
) -> Option<Start> {
    context.step("boot loader");
    // One finding says already that there is nothing to boot from.
    if matches!(layout.scheme, Scheme::None) && layout.partitions.is_empty() {
        return None;
    }
    if context.options.secure_boot && generation == Generation::One {
        context.find(
            &rules::SECURE_BOOT_GENERATION,
            "the image is for generation 1, which has no Secure Boot",
        );
    }
    match generation {
        Generation::One => bios::follow(layout, volumes, context),
        Generation::Two => efi::follow(layout, volumes, context),
    }
}
