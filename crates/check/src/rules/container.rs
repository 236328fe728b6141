//! Rules of the stage "container".

rules! {
    Container;
    CONTAINER: "container", Error, InstallationNotes,
        "The file is in another container format, such as VHDX or qcow2, or compressed.",
        "convert it with `qemu-img convert -O raw`, or decompress it, and present the raw image";
    SOURCE_FORMAT: "source-format", Info, AzureLimits,
        "The format of an image that is not uploaded as it is: its view was checked.",
        "upload the view, not the image";
    VHD_COOKIE: "vhd-cookie", Error, AzureLimits,
        "The name ends in `.vhd`, and the footer is missing.",
        "it is a raw image; name it so, and present it with `vhdfs mount`";
    VHD_CHECKSUM: "vhd-checksum", Error, AzureLimits,
        "The footer's checksum is wrong.",
        "restore the file, or cut off the footer and present the raw disk before it";
    VHD_TYPE: "vhd-type", Error, InstallationNotes,
        "The VHD is dynamic or differencing, not fixed.",
        "present a dynamic VHD with `vhdfs mount`, which shows it as a fixed one; merge a differencing one into its parent first";
    VHD_CURRENT_SIZE: "vhd-current-size", Error, ResizeVhds,
        "The footer's current size is not the file's length less 512 bytes.",
        "cut off the footer and present the raw disk before it";
    VHD_GEOMETRY_SIZE: "vhd-geometry-size", Error, ResizeVhds,
        "The size was rounded to the geometry, as qemu-img 2.2.1 to 2.5 did.",
        "present it with `vhdfs mount`, which pads its disk";
    VHD_FIELD: "vhd-field", Warning, AzureLimits,
        "Another field of the footer has an unusual value.",
        "cut off the footer and present the raw disk before it";
    SIZE_ALIGNMENT: "size-alignment", Error, InstallationNotes,
        "The virtual size of a VHD is no whole MiB.",
        "present it with `vhdfs mount`, which pads its disk";
    SIZE_PADDING: "size-padding", Info, InstallationNotes,
        "How many zero bytes presenting the image adds.",
        "nothing: the view is padded";
    SIZE_UPLOAD: "size-upload", Info, AzureLimits,
        "The virtual size, and the size of the upload with its footer. Always present.",
        "give this number to `az disk create --upload-size-bytes`";
    SIZE_MINIMUM: "size-minimum", Error, AzureLimits,
        "The virtual size is below 20 MiB.",
        "enlarge the image with `truncate` or `qemu-img resize`";
    SIZE_MAXIMUM: "size-maximum", Error, AzureLimits,
        "The virtual size is above 32,767 GiB.",
        "shrink the disk";
    SIZE_GUIDE: "size-guide", Warning, InstallationNotes,
        "The virtual size is above 1,023 GiB, the guide's limit.",
        "shrink the disk, or upload it straight to a managed disk";
    SIZE_MBR: "size-mbr", Warning, AzureLimits,
        "The virtual size is above 2 TiB, with an MBR or for generation 1.",
        "shrink the disk, or use a GPT and generation 2";
    SIZE_OS_DISK: "size-os-disk", Warning, AzureLimits,
        "The virtual size is above 4,095 GiB, the limit of OS disks and of several uploaders.",
        "shrink the disk, or use it as a data disk with an uploader that takes it";
    TABLE_MISSING: "table-missing", Error, AzureLimits,
        "The OS disk has neither a partition table nor a known file system.",
        "check that this is the image of a whole, bootable disk";
    TABLE_FILE_SYSTEM: "table-file-system", Warning, InstallationNotes,
        "A file system stands directly on the OS disk.",
        "install to a disk with a partition table";
    TABLE_4KN: "table-4kn", Error, AzureLimits,
        "The GPT counts in sectors of 4,096 bytes; OS disks in Azure have 512.",
        "rebuild the image with sectors of 512 bytes";
    TABLE_4KN_DATA: "table-4kn-data", Warning, AzureLimits,
        "As `table-4kn`, on a data disk; only some disk types in Azure have such sectors.",
        "attach it as a disk with sectors of 4,096 bytes, or rebuild it with 512";
    GPT_DAMAGED: "gpt-damaged", Error, AzureLimits,
        "The primary GPT does not validate.",
        "repair the table with `gdisk` or `sgdisk`";
    GPT_BACKUP_DAMAGED: "gpt-backup-damaged", Warning, AzureLimits,
        "The backup GPT does not validate.",
        "present the raw image with `--gpt relocate`; or pad it to whole MiB and run `sgdisk -e` before it becomes a VHD";
    GPT_BACKUP_POSITION: "gpt-backup-position", Warning, AzureLimits,
        "The backup GPT is not in the last sector of the disk as Azure sees it.",
        "present the raw image with `--gpt relocate`; or pad it to whole MiB and run `sgdisk -e` before it becomes a VHD";
    GPT_COPIES: "gpt-copies", Warning, AzureLimits,
        "Both copies of the GPT validate and differ.",
        "decide with `gdisk` which copy is right";
    PARTITION_RANGE: "partition-range", Error, AzureLimits,
        "A partition is not wholly on the disk.",
        "restore the whole image, or repair the partition table";
    PARTITION_OVERLAP: "partition-overlap", Error, AzureLimits,
        "Two partitions overlap.",
        "repair the partition table";
    LVM: "lvm", Warning, InstallationNotes,
        "There is an LVM volume on the OS disk.",
        "use standard partitions on the OS disk";
    RAID: "raid", Warning, InstallationNotes,
        "There is a RAID member on the OS disk.",
        "use standard partitions on the OS disk";
    LUKS: "luks", Warning, AzureLimits,
        "A partition of the OS disk is encrypted with LUKS.",
        "use an unencrypted OS disk: nobody can enter a passphrase at boot";
    SWAP_PARTITION: "swap-partition", Error, InstallationNotes,
        "There is a swap partition on the OS disk.",
        "remove it and let the agent or cloud-init make swap on the resource disk";
    CUT: "check-cut", Unknown, Own,
        "The check was cut short: it took too long, or too much would have had to be read. What it had not followed by then is unknown.",
        "check a copy on a faster disk, or give it more time with `--time-limit`";
}
