//! `vhdfs inspect`: what one file is, or would be.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::Failure;
use super::print::{print, print_json};
use crate::advice;
use crate::cli::InspectArgs;
use crate::folder::catalog;
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::source::read_exact_at;
use vhd::footer::{FOOTER_SIZE, Footer, Identity, checksum};
use vhd::format::Format;
use vhd::layout::{Layout, LayoutError};

/// Why a file cannot be inspected.
#[derive(Debug, Error)]
enum InspectError {
    #[error("{}: cannot be read: {}{}", .0.display(), .1, advice::on_reading(.1))]
    Read(PathBuf, #[source] io::Error),
    #[error("{}: is not a file; name an image", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: has no view: {}", .0.display(), .1)]
    NoView(PathBuf, #[source] LayoutError),
}

/// What is known of a file; sizes in bytes.
#[derive(Debug, Serialize)]
struct Inspection {
    path: String,
    format: &'static str,
    file_size: u64,
    /// Null where the format does not tell without being converted.
    virtual_size: Option<u64>,
    padding: Option<u64>,
    footer: Option<FooterFields>,
}

/// The footer field by field, as the contract names them.
#[derive(Debug, Serialize)]
struct FooterFields {
    cookie: String,
    features: u32,
    file_format_version: u32,
    data_offset: u64,
    timestamp: u32,
    creator_application: String,
    creator_version: u32,
    creator_host_os: String,
    original_size: u64,
    current_size: u64,
    disk_geometry: GeometryFields,
    disk_type: u32,
    checksum: u32,
    checksum_valid: bool,
    unique_id: String,
    saved_state: u8,
}

#[derive(Debug, Serialize)]
struct GeometryFields {
    cylinders: u16,
    heads: u8,
    sectors_per_track: u8,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let inspection = inspect(&args.file, args.view.min_size.unwrap_or(0))?;
    if args.json {
        print_json(&inspection)
    } else {
        print(&inspection.to_text())
    }
}

fn inspect(path: &Path, min_size: u64) -> Result<Inspection, Failure> {
    let failed = |error| InspectError::Read(path.to_owned(), error);
    let file = crate::folder::beneath::open_path(path).map_err(failed)?;
    let metadata = Metadata::of(file.as_fd()).map_err(failed)?;
    if !matches!(metadata.kind, Kind::File | Kind::BlockDevice) {
        return Err(InspectError::NotAFile(path.to_owned()).into());
    }
    let file_size = metadata.version.size;
    let format = catalog::sniff(file.as_fd(), file_size).map_err(failed)?;
    let stored = || -> io::Result<Option<FooterFields>> {
        let Some(offset) = file_size.checked_sub(FOOTER_SIZE as u64) else {
            return Ok(None);
        };
        let mut bytes = [0; FOOTER_SIZE];
        read_exact_at(file.as_fd(), &mut bytes, offset)?;
        Ok(FooterFields::decode(&bytes))
    };
    let (virtual_size, footer) = match format {
        Format::Raw => {
            let no_view = |error| InspectError::NoView(path.to_owned(), error);
            let size = Layout::checked_virtual_size(file_size.max(min_size)).map_err(no_view)?;
            (Some(size), footer_of(path, &metadata, file_size, size))
        }
        Format::FixedVhd if min_size > disk_size(format, file_size) => {
            let disk_size = disk_size(format, file_size);
            let no_view = |error| InspectError::NoView(path.to_owned(), error);
            let size = Layout::checked_virtual_size(min_size).map_err(no_view)?;
            (Some(size), footer_of(path, &metadata, disk_size, size))
        }
        Format::FixedVhd => (
            Some(disk_size(format, file_size)),
            stored().map_err(failed)?,
        ),
        _ => (None, stored().map_err(failed)?),
    };
    Ok(Inspection {
        path: path.to_string_lossy().into_owned(),
        format: format.name(),
        file_size,
        virtual_size,
        padding: virtual_size.map(|size| size.saturating_sub(disk_size(format, file_size))),
        footer,
    })
}

/// Size in bytes of the disk in a file that is raw or a fixed VHD.
fn disk_size(format: Format, file_size: u64) -> u64 {
    match format {
        Format::FixedVhd => file_size.saturating_sub(FOOTER_SIZE as u64),
        _ => file_size,
    }
}

/// The footer that the view of a disk will have.
fn footer_of(
    path: &Path,
    metadata: &Metadata,
    disk_size: u64,
    virtual_size: u64,
) -> Option<FooterFields> {
    let identity = Identity {
        base_name: path.file_name().unwrap_or_default().as_encoded_bytes(),
        source_size: disk_size,
        mtime_seconds: metadata.version.mtime.seconds,
    };
    FooterFields::decode(&Footer::fixed(identity, virtual_size).encode())
}

impl FooterFields {
    fn decode(bytes: &[u8; FOOTER_SIZE]) -> Option<Self> {
        let footer = Footer::decode(bytes).ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            cookie: text(&vhd::footer::COOKIE),
            features: footer.features,
            file_format_version: footer.file_format_version,
            data_offset: footer.data_offset,
            timestamp: footer.timestamp,
            creator_application: text(&footer.creator_application),
            creator_version: footer.creator_version,
            creator_host_os: text(&footer.creator_host_os),
            original_size: footer.original_size,
            current_size: footer.current_size,
            disk_geometry: GeometryFields {
                cylinders: footer.geometry.cylinders,
                heads: footer.geometry.heads,
                sectors_per_track: footer.geometry.sectors_per_track,
            },
            disk_type: footer.disk_type,
            checksum: footer.checksum,
            checksum_valid: footer.checksum == checksum(bytes),
            unique_id: footer.unique_id.to_string(),
            saved_state: footer.saved_state,
        })
    }
}

impl Inspection {
    fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<20} {value}");
        };
        line("path", &self.path);
        line("format", &self.format);
        line("file size", &self.file_size);
        let unknown = "unknown without converting it";
        match (self.virtual_size, self.padding) {
            (Some(size), Some(padding)) => {
                line("virtual size", &size);
                line("padding", &padding);
                line("view size", &(size + FOOTER_SIZE as u64));
            }
            _ => line("virtual size", &unknown),
        }
        let Some(footer) = &self.footer else {
            line("footer", &"none");
            return text;
        };
        let geometry = &footer.disk_geometry;
        line("cookie", &footer.cookie);
        line("features", &format_args!("{:#010x}", footer.features));
        line(
            "file format version",
            &format_args!("{:#010x}", footer.file_format_version),
        );
        line("data offset", &format_args!("{:#018x}", footer.data_offset));
        line(
            "timestamp",
            &format_args!("{} s after 2000-01-01", footer.timestamp),
        );
        line(
            "creator application",
            &format_args!("{:?}", footer.creator_application),
        );
        line(
            "creator version",
            &format_args!("{:#010x}", footer.creator_version),
        );
        line(
            "creator host OS",
            &format_args!("{:?}", footer.creator_host_os),
        );
        line("original size", &footer.original_size);
        line("current size", &footer.current_size);
        line(
            "disk geometry",
            &format_args!(
                "{}/{}/{}",
                geometry.cylinders, geometry.heads, geometry.sectors_per_track
            ),
        );
        line("disk type", &footer.disk_type);
        let verdict = if footer.checksum_valid {
            "valid"
        } else {
            "wrong"
        };
        line(
            "checksum",
            &format_args!("{:#010x} ({verdict})", footer.checksum),
        );
        line("unique id", &footer.unique_id);
        line("saved state", &footer.saved_state);
        text
    }
}
