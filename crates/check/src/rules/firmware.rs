//! Rules of the stage "firmware".

rules! {
    Firmware;
    BIOS_BOOT_CODE: "bios-boot-code", Error, InstallationNotes,
        "Generation 1, and there is no boot code in the first sector.",
        "install a boot loader for BIOS, such as with `grub-install --target=i386-pc`, or use generation 2";
    BIOS_BOOT_PARTITION: "bios-boot-partition", Error, InstallationNotes,
        "Generation 1 with a GPT, and there is no BIOS boot partition.",
        "add a BIOS boot partition and install GRUB into it, or use generation 2";
    EFI_TABLE: "efi-table", Error, InstallationNotes,
        "Generation 2, and there is no GPT.",
        "convert the disk to GPT, or use generation 1";
    EFI_PARTITION: "efi-partition", Error, InstallationNotes,
        "Generation 2, and there is no EFI system partition.",
        "add an EFI system partition with a boot loader, or use generation 1";
    EFI_LOADER: "efi-loader", Error, InstallationNotes,
        "Generation 2, and there is no loader at `/EFI/BOOT/BOOTX64.EFI` or `BOOTAA64.EFI`. A new machine has no boot entries for loaders elsewhere.",
        "install the loader to the removable path, such as with `grub-install --removable`";
    EFI_UNREADABLE: "efi-unreadable", Unknown, InstallationNotes,
        "The EFI system partition cannot be read.",
        "look whether the partition holds `/EFI/BOOT/BOOTX64.EFI`";
    BIOS_ACTIVE: "bios-active", Error, InstallationNotes,
        "The boot code in the first sector starts the active partition, and there is none.",
        "mark the partition with the boot loader as active, such as with `sfdisk --activate`";
    BIOS_LOADER_UNKNOWN: "bios-loader-unknown", Unknown, Grub,
        "The boot code in the first sector is not GRUB's, and was not followed.",
        "check by hand that the boot loader starts, or install GRUB with `grub-install`";
    GRUB_CORE: "grub-core", Error, Grub,
        "The boot code starts GRUB's core, and it is not where the boot code looks for it.",
        "install GRUB again with `grub-install --target=i386-pc` and the disk";
    GRUB_CORE_UNKNOWN: "grub-core-unknown", Unknown, Grub,
        "GRUB's core is damaged, or in a form that is not known here.",
        "install GRUB again with `grub-install`";
    GRUB_CORE_PLACE: "grub-core-place", Warning, Grub,
        "GRUB's core lies inside of a file system, where it can be moved or overwritten.",
        "add a BIOS boot partition and install GRUB again with `grub-install`";
    EFI_PROGRAM: "efi-program", Error, Uefi,
        "The program that a new machine starts is none: empty, cut off, for another machine, or no program for UEFI at all.",
        "install the loader again, such as with `grub-install --removable`";
    EFI_NEXT: "efi-next", Error, Uefi,
        "shim is there, and the boot loader that it starts is not beside it.",
        "copy the distribution's `grubx64.efi` beside shim, or install the loader again with `grub-install --removable`";
    EFI_LOADER_UNKNOWN: "efi-loader-unknown", Unknown, Uefi,
        "The boot loader is neither shim, GRUB, systemd-boot nor a unified kernel image, and was not followed.",
        "check by hand which kernel it starts, with which command line and initrd";
    SECURE_BOOT_UNSIGNED: "secure-boot-unsigned", Error, TrustedLaunch,
        "Secure Boot is asked for, and a program on the way to the kernel is not signed.",
        "install the signed packages of the distribution (such as `shim-signed` and `grub-efi-amd64-signed`), or use a machine without Secure Boot";
    SECURE_BOOT_CHANGED: "secure-boot-changed", Error, TrustedLaunch,
        "Secure Boot is asked for, and a program was changed after it was signed.",
        "install the package of the program again";
    SECURE_BOOT_KEYS: "secure-boot-keys", Unknown, TrustedLaunch,
        "Secure Boot is asked for, and what the firmware starts is not signed with a key of Microsoft's (keys of one's own come with an image of a gallery), or a signature cannot be read.",
        "start the distribution's signed shim, or give the keys to the image version in the gallery";
    SECURE_BOOT_SIGNED: "secure-boot-signed", Info, TrustedLaunch,
        "Who signed a program that Secure Boot starts.",
        "nothing";
    SECURE_BOOT_GENERATION: "secure-boot-generation", Error, TrustedLaunch,
        "Secure Boot is asked for, and the image is for generation 1, which has none.",
        "use generation 2, with an EFI system partition";
}
