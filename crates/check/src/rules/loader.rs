//! Rules of the stage "loader".

rules! {
    Loader;
    BOOT_CONFIG: "boot-config", Unknown, SystemRequirements,
        "No entry of GRUB, GRUB 2 or the Boot Loader Specification was found.",
        "check by hand: kernel command line, kernel, Hyper-V modules in its initrd";
    LOADER_UNREADABLE: "loader-unreadable", Unknown, Grub,
        "The boot loader's configuration is not understood, or leads to where it cannot be followed.",
        "check by hand which kernel is started, with which command line and initrd";
    LOADER_STOPS: "loader-stops", Error, Grub,
        "The boot loader waits for somebody: for a choice, a password, or at its prompt. Nobody is there.",
        "set a timeout and a default entry in `/etc/default/grub`, and run {grub}";
    LOADER_SUBMENU: "loader-submenu", Unknown, Grub,
        "The default is a menu of its own; once the time of the first menu has run out, GRUB opens it without a timeout.",
        "name an entry as the default, such as with `GRUB_DEFAULT=0` or \"1>0\", and run {grub}";
    LOADER_DEVICE: "loader-device", Error, Grub,
        "The default entry takes its files from a device that is not there.",
        "correct the search for the file system, or run {grub}";
    LOADER_TROUBLE: "loader-trouble", Warning, Grub,
        "Something in the boot loader's configuration goes wrong without keeping the default entry from being started.",
        "correct the configuration, or run {grub}";
    GRUB_PREFIX: "grub-prefix", Error, Grub,
        "GRUB's core looks for its folder on a device that is not there, and ends in its rescue prompt.",
        "install GRUB again with `grub-install`";
    GRUB_MODULES: "grub-modules", Error, Grub,
        "A module is missing without which GRUB ends in its rescue prompt.",
        "install GRUB again with `grub-install`";
    GRUB_CONFIG: "grub-config", Error, Grub,
        "There is no configuration where GRUB looks for it, and it waits at its prompt.",
        "run {grub}, or install GRUB again with `grub-install`";
}
