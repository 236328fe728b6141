//! `vhdfs inspect`: what one file is, or would be.

use std::fmt::{self, Display, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::Failure;
use super::print::{print, print_json};
use super::view::{Choice, Named, ViewError};
use crate::advice;
use crate::cli::{InspectArgs, ViewArgs};
use crate::folder::catalog::{Image, Skip};
use crate::folder::metadata::{Kind, Metadata};
use crate::folder::settle::Writers;
use crate::folder::source::read_exact_at;
use crate::serve::image::Policy;
use check::printable::printable;
use disk::format::Format;
use disk::{ByteRange, Disk};
use vhd::footer::{FOOTER_SIZE, Footer, checksum};

/// Why a file cannot be inspected.
#[derive(Debug, Error)]
enum InspectError {
    #[error("{}: cannot be read: {}{} [unreadable]", .0.display(), .1, advice::on_reading(.1))]
    Read(PathBuf, #[source] io::Error),
    #[error("{}: is not a file; name an image [not-a-file]", .0.display())]
    NotAFile(PathBuf),
}

/// What is known of a file; sizes in bytes.
#[derive(Debug, Serialize)]
struct Inspection {
    path: String,
    /// Null if the content is in no known format, and not taken for raw.
    format: Option<&'static str>,
    variant: Option<String>,
    block_size: Option<u64>,
    compression: Option<&'static str>,
    /// Format of the image that it holds, as an archive or a compressed file does.
    inside: Option<&'static str>,
    files: Vec<String>,
    file_size: u64,
    /// This and what follows is null if it does not appear.
    source_size: Option<u64>,
    virtual_size: Option<u64>,
    padding: Option<u64>,
    allocated_size: Option<u64>,
    /// The disks of a file that holds several; the rest is about the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disks: Vec<OneOfSeveral>,
    /// Why it does not appear.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    footer: Option<FooterFields>,
}

/// One disk of a file that holds several.
#[derive(Debug, Serialize)]
struct OneOfSeveral {
    view: Option<String>,
    source_size: Option<u64>,
    virtual_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
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
    let inspection = inspect(&args.file, args)?;
    if args.json {
        print_json(&inspection)
    } else {
        print(&inspection.to_text())
    }
}

fn inspect(path: &Path, args: &InspectArgs) -> Result<Inspection, Failure> {
    let choice = Choice::new(&args.selection, &args.view)?;
    let mut views = Named::find_all(path, &choice)?;
    let disks = match &views[..] {
        [_] => Vec::new(),
        several => several.iter().map(OneOfSeveral::new).collect(),
    };
    let first = views.iter().position(Result::is_ok).unwrap_or(0);
    let inspection = match views.swap_remove(first) {
        Ok(named) => Inspection::of_view(path, &named, &args.view)?,
        // A disk that is too large for a view, or none at all.
        Err(ViewError::NoView(path, skip @ Skip::Size(_))) => {
            return Err(ViewError::NoView(path, skip).into());
        }
        Err(ViewError::NoView(_, skip)) => Inspection::of_file(path, &skip)?,
        Err(error) => return Err(error.into()),
    };
    Ok(Inspection {
        disks,
        ..inspection
    })
}

impl Inspection {
    /// An image that appears.
    fn of_view(path: &Path, named: &Named, view: &ViewArgs) -> Result<Self, Failure> {
        let failed = ViewError::reading(path);
        let image = &named.image;
        let opened = named.open(view, Policy::Never, Writers::Allow)?;
        let mut footer = [0; FOOTER_SIZE];
        let end = opened.size() - FOOTER_SIZE as u64;
        opened.read(&mut footer, end).map_err(&failed)?;
        let source = opened.view().source();
        let details = source.details();
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
            format: Some(image.format().name()),
            variant: details.and_then(|details| details.variant.clone()),
            block_size: details.and_then(|details| details.block_size),
            compression: details.and_then(|details| details.compression),
            inside: details
                .and_then(|details| details.inner.as_deref())
                .map(|inner| inner.format.name()),
            files: names_of(image),
            file_size: image.metadata().version.size,
            source_size: Some(image.disk_size()),
            virtual_size: Some(image.virtual_size()),
            padding: Some(image.virtual_size().saturating_sub(image.disk_size())),
            allocated_size: Some(data_size(source, image.disk_size()).map_err(&failed)?),
            disks: Vec::new(),
            reason: None,
            footer: FooterFields::decode(&footer),
        })
    }

    /// A file that does not appear.
    fn of_file(path: &Path, skip: &Skip) -> Result<Self, Failure> {
        let failed = |error| InspectError::Read(path.to_owned(), error);
        let file = crate::folder::beneath::open_path(path).map_err(failed)?;
        let metadata = Metadata::of(file.as_fd()).map_err(failed)?;
        if !matches!(metadata.kind, Kind::File | Kind::BlockDevice) {
            return Err(InspectError::NotAFile(path.to_owned()).into());
        }
        let file_size = metadata.version.size;
        let footer = match file_size.checked_sub(FOOTER_SIZE as u64) {
            None => None,
            Some(offset) => {
                let mut bytes = [0; FOOTER_SIZE];
                read_exact_at(file.as_fd(), &mut bytes, offset).map_err(failed)?;
                FooterFields::decode(&bytes)
            }
        };
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
            format: skip.format().map(Format::name),
            variant: None,
            block_size: None,
            compression: None,
            inside: None,
            files: vec![name.to_string_lossy().into_owned()],
            file_size,
            source_size: None,
            virtual_size: None,
            padding: None,
            allocated_size: None,
            disks: Vec::new(),
            reason: Some(skip.to_string()),
            footer,
        })
    }
}

/// The files that an image is read from, below the folder that holds it.
fn names_of(image: &Image) -> Vec<String> {
    let files = image.files();
    let names = files.iter().map(|path| path.to_string_lossy().into_owned());
    names.collect()
}

/// Number of bytes of a disk that are not in holes.
fn data_size(disk: &impl Disk, size: u64) -> io::Result<u64> {
    let (mut at, mut sum) = (0, 0);
    while let Some(data) = disk.next_data(at)? {
        let data = data.intersect(ByteRange::new(0, size));
        if data.is_empty() {
            break;
        }
        sum += data.len();
        at = data.end();
    }
    Ok(sum)
}

impl OneOfSeveral {
    fn new(view: &Result<Named, ViewError>) -> Self {
        match view {
            Ok(named) => Self {
                view: Some(named.name.to_string_lossy().into_owned()),
                source_size: Some(named.image.disk_size()),
                virtual_size: Some(named.image.virtual_size()),
                reason: None,
            },
            Err(error) => Self {
                view: None,
                source_size: None,
                virtual_size: None,
                reason: Some(match error {
                    ViewError::NoView(_, skip) => skip.to_string(),
                    other => other.to_string(),
                }),
            },
        }
    }
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

/// Lines of a name and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<20} {value}");
    }

    fn add_known(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl Inspection {
    fn to_text(&self) -> String {
        let mut lines = Lines::default();
        lines.add("path", &self.path);
        lines.add("format", self.format.unwrap_or("unknown"));
        lines.add_known("variant", self.variant.as_ref());
        lines.add_known("block size", self.block_size);
        lines.add_known("compression", self.compression);
        lines.add_known("inside", self.inside);
        let is_alone = self.files.len() == 1;
        lines.add_known("files", (!is_alone).then(|| self.files.join(", ")));
        lines.add("file size", self.file_size);
        lines.add_known("source size", self.source_size);
        lines.add_known("allocated size", self.allocated_size);
        lines.add_known("virtual size", self.virtual_size);
        lines.add_known("padding", self.padding);
        let view_size = self.virtual_size.map(|size| size + FOOTER_SIZE as u64);
        lines.add_known("view size", view_size);
        for disk in &self.disks {
            lines.add("disk", disk);
        }
        lines.add_known("does not appear", self.reason.as_ref());
        self.add_footer(&mut lines);
        printable_lines(&lines.0)
    }

    fn add_footer(&self, lines: &mut Lines) {
        let mut line = |name: &str, value: &dyn Display| lines.add(name, value);
        let Some(footer) = &self.footer else {
            line("footer", &"none");
            return;
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
    }
}

/// The text with no control characters but ends of lines.
fn printable_lines(text: &str) -> String {
    let lines = text.lines().map(printable);
    lines.map(|line| line + "\n").collect()
}

impl Display for OneOfSeveral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.view, self.source_size, &self.reason) {
            (Some(view), Some(size), _) => write!(f, "{view} ({size})"),
            (_, _, reason) => write!(f, "not shown: {}", reason.as_deref().unwrap_or_default()),
        }
    }
}
