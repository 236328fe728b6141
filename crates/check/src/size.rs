//! Azure's limits on the size of a disk.

use super::container::Container;
use super::context::Context;
use super::partitions::Layout;
use super::report::Generation;
use super::rules::container as rules;
use disk::format::Format;
use vhd::footer::FOOTER_SIZE;
use vhd::{MAX_OS_DISK_SIZE, MAX_UPLOAD_SIZE, MIN_UPLOAD_SIZE};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// "The maximum size allowed for the VHD is 1,023 GB."
const GUIDE: u64 = 1_023 * GIB;
/// What a boot record can address in sectors of 512 bytes.
const MBR: u64 = 2 * TIB;

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
    if container.format == Format::RAW && size != container.file_size {
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
            size < MIN_UPLOAD_SIZE,
            "20 MiB is the least that Azure takes",
        ),
        (
            &rules::SIZE_MAXIMUM,
            size > MAX_UPLOAD_SIZE,
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
            size > MAX_OS_DISK_SIZE,
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
