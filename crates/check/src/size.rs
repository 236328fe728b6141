//! Azure's limits on the size of a disk.

use super::container::{Container, MIB};
use super::context::Context;
use super::partitions::Layout;
use super::report::Generation;
use super::rules::container as rules;
use vhd::footer::FOOTER_SIZE;
use vhd::format::Format;

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Least virtual size of a managed disk that is uploaded: 20,972,032 bytes with the footer.
const MINIMUM: u64 = 20 * MIB;
/// Largest virtual size that can be uploaded: 35,183,298,347,520 bytes with the footer.
const MAXIMUM: u64 = 32_767 * GIB;
/// "The maximum size allowed for the VHD is 1,023 GB."
const GUIDE: u64 = 1_023 * GIB;
/// What a boot record can address in sectors of 512 bytes.
const MBR: u64 = 2 * TIB;
/// Largest OS disk, and the limit of several uploaders.
const OS_DISK: u64 = 4_095 * GIB;

/// What is worth knowing at a glance about a disk of `virtual_size` bytes, as far as Azure takes it.
pub fn remark(virtual_size: u64) -> Option<&'static str> {
    match virtual_size {
        ..MINIMUM => Some("smaller than 20 MiB, which Azure does not take"),
        size if size > MAXIMUM => Some("larger than 32,767 GiB, which Azure does not take"),
        size if size > OS_DISK => {
            Some("larger than 4,095 GiB, which Azure takes as a data disk only")
        }
        _ => None,
    }
}

/// Judges the virtual size.
pub(super) fn judge(
    container: &Container,
    layout: &Layout,
    generation: Generation,
    context: &Context<'_>,
) {
    let size = container.virtual_size;
    let upload = size.saturating_add(FOOTER_SIZE as u64);
    context.find(
        &rules::SIZE_UPLOAD,
        format!("the virtual size is {size} bytes, and the upload's with the footer {upload}"),
    );
    if container.format == Format::Raw && size != container.file_size {
        let padding = size - container.file_size;
        context.find(
            &rules::SIZE_PADDING,
            format!("{padding} zero bytes are added to make the virtual size a whole MiB"),
        );
    }
    let by_mbr = !layout.is_gpt() || (generation == Generation::One && !context.options.data_disk);
    for (rule, exceeded, limit) in [
        (
            &rules::SIZE_MINIMUM,
            size < MINIMUM,
            "20 MiB is the least that Azure takes",
        ),
        (
            &rules::SIZE_MAXIMUM,
            size > MAXIMUM,
            "32,767 GiB is the most that Azure takes",
        ),
        (
            &rules::SIZE_GUIDE,
            size > GUIDE,
            "the guide allows 1,023 GB",
        ),
        (
            &rules::SIZE_MBR,
            size > MBR && by_mbr,
            "a boot record, as generation 1 boots from, reaches 2 TiB",
        ),
        (
            &rules::SIZE_OS_DISK,
            size > OS_DISK,
            "OS disks and several uploaders end at 4,095 GiB",
        ),
    ] {
        if exceeded {
            context.find(
                rule,
                format!("the virtual size is {size} bytes, and {limit}"),
            );
        }
    }
}
