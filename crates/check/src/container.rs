//! Which format an image is in, and what a VHD footer says.

use std::io;

use super::context::Context;
use super::rules::container as rules;
use disk::gpt::Gpt;
use disk::{Disk, Prefix};
use vhd::footer::{DISK_TYPE_FIXED, FOOTER_SIZE, Footer, checksum};
use vhd::format::{Format, HEAD_SIZE, TAIL_SIZE};

/// Unit of the virtual sizes that Azure accepts, in bytes.
pub(super) const MIB: u64 = 1 << 20;
/// Features without and with the reserved bit that the specification wants set.
const FEATURES: [u32; 2] = [2, 3];
const FILE_FORMAT_VERSION: u32 = 0x0001_0000;

/// The format of an image, and the disk in it.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) format: Format,
    /// Length of the file in bytes.
    pub(super) file_size: u64,
    /// Bytes of the file that are the disk.
    pub(super) body_size: u64,
    /// Size of the disk as Azure sees it, in bytes.
    pub(super) virtual_size: u64,
    footer: Option<[u8; FOOTER_SIZE]>,
    named_vhd: bool,
}

impl Container {
    /// Tells the format of an image called `name` from its first and last bytes.
    pub(super) fn of(name: &str, image: &dyn Disk) -> io::Result<Self> {
        let file_size = image.size();
        let head = read_up_to(image, 0, HEAD_SIZE)?;
        let tail = read_up_to(image, file_size.saturating_sub(TAIL_SIZE as u64), TAIL_SIZE)?;
        let format = Format::detect(&head, &tail, file_size);
        let footer = <[u8; FOOTER_SIZE]>::try_from(&tail[..])
            .ok()
            .filter(|bytes| Footer::decode(bytes).is_ok());
        let body_size = match footer {
            Some(_) => file_size - FOOTER_SIZE as u64,
            None => file_size,
        };
        // A view is padded to whole MiB; a VHD is taken as it is.
        let virtual_size = match (format, footer) {
            (Format::Raw, _) => padded(body_size),
            _ => body_size,
        };
        Ok(Self {
            format,
            file_size,
            body_size,
            virtual_size,
            footer,
            named_vhd: name.to_ascii_lowercase().ends_with(".vhd"),
        })
    }

    /// Whether the bytes of the file are those of a disk, so that there is more to judge.
    pub(super) fn is_disk(&self) -> bool {
        let fixed = self
            .footer()
            .is_some_and(|footer| footer.disk_type == DISK_TYPE_FIXED);
        match self.format {
            Format::Raw | Format::FixedVhd => true,
            Format::DamagedVhd => fixed,
            _ => false,
        }
    }

    fn footer(&self) -> Option<Footer> {
        Footer::decode(self.footer.as_ref()?).ok()
    }

    /// Judges the format and, field by field, the footer.
    pub(super) fn judge(&self, context: &Context<'_>) {
        match self.format {
            Format::Raw if self.named_vhd => context.find(
                &rules::VHD_COOKIE,
                "its name ends in .vhd, and there is no footer with the cookie `conectix`",
            ),
            Format::Raw => {}
            Format::FixedVhd
            | Format::DamagedVhd
            | Format::DynamicVhd
            | Format::DifferencingVhd
                if self.footer.is_some() =>
            {
                self.judge_footer(context)
            }
            format => context.find(
                &rules::CONTAINER,
                format!("it is in the format {format}, and Azure takes fixed VHDs only"),
            ),
        }
    }

    fn judge_footer(&self, context: &Context<'_>) {
        let (Some(bytes), Some(footer)) = (&self.footer, self.footer()) else {
            return;
        };
        let computed = checksum(bytes);
        if footer.checksum != computed {
            let found = footer.checksum;
            context.find(
                &rules::VHD_CHECKSUM,
                format!(
                    "the footer's checksum is {found:#010x}, and its bytes give {computed:#010x}"
                ),
            );
        }
        if footer.disk_type != DISK_TYPE_FIXED {
            let found = footer.disk_type;
            context.find(
                &rules::VHD_TYPE,
                format!(
                    "the disk type is {found} ({}), and a fixed VHD has type 2",
                    self.format
                ),
            );
            return;
        }
        self.judge_sizes(&footer, context);
        for (field, found, required) in odd_fields(&footer, &bytes[85..]) {
            context.find(
                &rules::VHD_FIELD,
                format!("the footer's {field} is {found}, and {required} is required"),
            );
        }
    }

    fn judge_sizes(&self, footer: &Footer, context: &Context<'_>) {
        let found = footer.current_size;
        if found != self.body_size {
            context.find(
                &rules::VHD_CURRENT_SIZE,
                format!(
                    "the current size is {found} bytes, and the file holds {} before the footer",
                    self.body_size
                ),
            );
        }
        let by_geometry = !matches!(&footer.creator_application, b"win " | b"qem2" | b"vs  ");
        if by_geometry && found == footer.geometry.bytes() && !found.is_multiple_of(MIB) {
            context.find(
                &rules::VHD_GEOMETRY_SIZE,
                format!(
                    "the size of {found} bytes was rounded to the geometry, as qemu-img 2.2.1 to \
                     2.5 does; whole MiB are required"
                ),
            );
        } else if !found.is_multiple_of(MIB) {
            context.find(
                &rules::SIZE_ALIGNMENT,
                format!("the virtual size is {found} bytes, and whole MiB are required"),
            );
        }
    }
}

/// Fields that no reader relies on, with found and required values.
fn odd_fields(footer: &Footer, reserved: &[u8]) -> Vec<(&'static str, String, &'static str)> {
    let mut odd = Vec::new();
    if !FEATURES.contains(&footer.features) {
        odd.push((
            "features",
            format!("{:#010x}", footer.features),
            "0x00000002",
        ));
    }
    if footer.file_format_version != FILE_FORMAT_VERSION {
        let found = format!("{:#010x}", footer.file_format_version);
        odd.push(("file format version", found, "0x00010000"));
    }
    if footer.data_offset != u64::MAX && footer.data_offset != u64::from(u32::MAX) {
        let found = format!("{:#018x}", footer.data_offset);
        odd.push(("data offset", found, "0xffffffffffffffff"));
    }
    if footer.original_size != footer.current_size {
        let found = format!("{} bytes", footer.original_size);
        odd.push(("original size", found, "the current size"));
    }
    if footer.saved_state != 0 {
        odd.push(("saved state", footer.saved_state.to_string(), "0"));
    }
    if reserved.iter().any(|&byte| byte != 0) {
        odd.push(("reserved part", "not zero".to_owned(), "zero"));
    }
    odd
}

/// The size rounded up to whole MiB.
fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(MIB).unwrap_or(size)
}

fn read_up_to(image: &dyn Disk, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let rest = image.size().saturating_sub(offset);
    let size = usize::try_from(rest).map_or(size, |rest| rest.min(size));
    let mut bytes = vec![0; size];
    image.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// How a remark ends that the table should be relocated.
pub const RELOCATE_REMEDY: &str = "; `--gpt relocate` puts it there";

/// What is worth knowing about an image at a glance, as short texts: format, size, partition
/// table and where its backup is. Empty where there is nothing to say. `source` is the format of
/// what `image` presents: only of a raw image the table can be relocated.
///
/// # Errors
///
/// The image's own. At most 2 MiB and a few sectors are read.
pub fn remarks(image: &dyn Disk, source: Format) -> io::Result<Vec<String>> {
    let container = Container::of("", image)?;
    let mut remarks = Vec::new();
    if !container.format.is_presentable() {
        remarks.push(format!(
            "{}: {}",
            container.format,
            container.format.remedy()
        ));
        return Ok(remarks);
    }
    let virtual_size = container.virtual_size;
    if !virtual_size.is_multiple_of(MIB) {
        remarks.push(format!("virtual size {virtual_size} bytes is no whole MiB"));
    }
    remarks.extend(super::size::remark(virtual_size).map(str::to_owned));
    remarks.extend(table_remarks(image, &container, source)?);
    Ok(remarks)
}

fn table_remarks(
    image: &dyn Disk,
    container: &Container,
    source: Format,
) -> io::Result<Vec<String>> {
    let body = Prefix::new(image, container.body_size);
    let Some(gpt) = Gpt::read(&body)? else {
        let signed = container.body_size >= 512 && super::content::is_signed(&body)?;
        let none = (!signed).then(|| "no partition table".to_owned());
        return Ok(none.into_iter().collect());
    };
    Ok(
        match (
            &gpt.primary,
            gpt.backup_is_at_end_of(container.virtual_size),
        ) {
            (Err(damage), _) => vec![format!("primary GPT damaged: {damage}")],
            (Ok(_), false) => {
                let remedy = match source {
                    Format::Raw => RELOCATE_REMEDY,
                    _ => "",
                };
                vec![format!("backup GPT not at the end of the disk{remedy}")]
            }
            (Ok(_), true) if gpt.sector_size != 512 => {
                vec!["GPT with sectors of 4,096 bytes".to_owned()]
            }
            (Ok(_), true) => Vec::new(),
        },
    )
}
