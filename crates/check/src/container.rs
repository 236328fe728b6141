//! Which format an image is in, and what a VHD footer says.

use std::io;

use super::Subject;
use super::context::Context;
use super::report::{Level, Stage};
use super::rules::container as rules;
use disk::Disk;
use disk::format::Format;
use vhd::footer::{
    DISK_TYPE_DIFFERENCING, DISK_TYPE_DYNAMIC, DISK_TYPE_FIXED, FOOTER_SIZE, Footer, checksum,
};

/// Unit of the virtual sizes that Azure accepts, in bytes.
const MIB: u64 = 1 << 20;
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
    /// Recognises the format of an image called `name` by its content.
    pub(super) fn of(name: &str, image: &dyn Disk) -> io::Result<Self> {
        let file_size = image.size();
        let format = Format::of(image)?;
        let footer = read_footer(image)?;
        let body_size = match footer {
            Some(_) => file_size - FOOTER_SIZE as u64,
            None => file_size,
        };
        // A view is padded to whole MiB; a VHD is taken as it is.
        let virtual_size = if format == Format::RAW {
            padded(body_size)
        } else {
            body_size
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
        let is_fixed = |footer: Footer| footer.disk_type == DISK_TYPE_FIXED;
        self.format == Format::RAW
            || self.format == Format::FIXED_VHD && self.footer().is_some_and(is_fixed)
    }

    fn footer(&self) -> Option<Footer> {
        Footer::decode(self.footer.as_ref()?).ok()
    }

    /// Judges the format and, field by field, the footer.
    pub(super) fn judge(&self, subject: &Subject, context: &Context<'_>) {
        let format = self.format;
        if let Subject::View(source) = subject
            && *source != Format::RAW
        {
            context.find(
                &rules::SOURCE_FORMAT,
                format!("the image is a {source}, and its view as a fixed VHD was checked"),
            );
        }
        let reason = match subject {
            Subject::WithoutView(reason) => Some(reason.as_str()),
            Subject::Image | Subject::View(_) => None,
        };
        if self.footer.is_some() {
            self.judge_footer(reason, context);
        } else if format == Format::RAW && self.named_vhd {
            context.find(
                &rules::VHD_COOKIE,
                "its name ends in .vhd, and there is no footer with the cookie `conectix`",
            );
        }
        // A wrong footer, or none, says it better.
        if context.has(Stage::Container, Level::Error) {
            return;
        }
        match reason {
            Some(reason) => context.find(
                &rules::CONTAINER,
                format!("it is in the format {format}, and no view can be made of it: {reason}"),
            ),
            None if format == Format::RAW || format == Format::FIXED_VHD => {}
            None => context.find(
                &rules::CONTAINER,
                format!("it is in the format {format}, and Azure takes fixed VHDs only"),
            ),
        }
    }

    /// Judges the footer; `no_view` says why no view can be made.
    fn judge_footer(&self, no_view: Option<&str>, context: &Context<'_>) {
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
            let name = match found {
                DISK_TYPE_DYNAMIC => " (dynamic)",
                DISK_TYPE_DIFFERENCING => " (differencing)",
                _ => "",
            };
            let reason = no_view.map_or_else(String::new, |reason| format!("; {reason}"));
            context.find(
                &rules::VHD_TYPE,
                format!("the disk type is {found}{name}, and a fixed VHD has type 2{reason}"),
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

/// The last bytes of an image if they begin like a footer, whatever its fields are.
fn read_footer(image: &dyn Disk) -> io::Result<Option<[u8; FOOTER_SIZE]>> {
    let mut bytes = [0; FOOTER_SIZE];
    let Some(offset) = image.size().checked_sub(FOOTER_SIZE as u64) else {
        return Ok(None);
    };
    image.read_exact_at(&mut bytes, offset)?;
    Ok(Footer::decode(&bytes).is_ok().then_some(bytes))
}
