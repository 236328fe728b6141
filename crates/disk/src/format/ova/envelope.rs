//! The OVF of an archive: which files are disks.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Number of disks that are read at most.
const MAX_DISKS: usize = 1024;

/// A disk that is in a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct DiskFile {
    /// Name of the file in the archive.
    pub(super) name: String,
    /// Its compression, if it has one.
    pub(super) compression: Option<String>,
    /// Whether the file is split into several.
    pub(super) chunks: bool,
    /// The format of the disk, an address that stands for it.
    pub(super) format: String,
    /// Name of the file that holds the disk it is based on.
    pub(super) parent: Option<String>,
}

/// An element `File` of `References`.
#[derive(Debug)]
struct File {
    id: String,
    file: DiskFile,
}

/// An element `Disk` of `DiskSection`.
#[derive(Debug)]
struct Disk {
    id: String,
    file: String,
    parent: Option<String>,
    format: String,
}

/// The elements that list what is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Section {
    References,
    Disks,
}

/// The disks of an envelope that are in files, in its order; `None` if the text is no envelope or lists
/// more than is read.
pub(super) fn disks(text: &[u8]) -> Option<Vec<DiskFile>> {
    let mut reader = Reader::from_str(std::str::from_utf8(text).ok()?);
    let (mut files, mut disks) = (Vec::new(), Vec::new());
    let mut section = None;
    loop {
        let event = reader.read_event().ok()?;
        let (Event::Start(element) | Event::Empty(element)) = &event else {
            match event {
                Event::Eof => break,
                Event::End(element) if section_of(element.local_name().as_ref()).is_some() => {
                    section = None;
                }
                _ => {}
            }
            continue;
        };
        match (section, element.local_name().as_ref()) {
            (Some(Section::References), "File") => files.push(File::read(element)?),
            (Some(Section::Disks), "Disk") => disks.extend(Disk::read(element)?),
            (_, name) if matches!(event, Event::Start(_)) => {
                section = section_of(name).or(section);
            }
            _ => {}
        }
        if files.len() > MAX_DISKS || disks.len() > MAX_DISKS {
            return None;
        }
    }
    resolve(&files, &disks)
}

fn section_of(name: &str) -> Option<Section> {
    match name {
        "References" => Some(Section::References),
        "DiskSection" => Some(Section::Disks),
        _ => None,
    }
}

/// The file of each disk; `None` if an element names one that is not there.
fn resolve(files: &[File], disks: &[Disk]) -> Option<Vec<DiskFile>> {
    let file_of = |disk: &Disk| files.iter().find(|file| file.id == disk.file);
    let parent_of = |id: &String| {
        let parent = disks.iter().find(|disk| disk.id == *id);
        let file = parent.and_then(file_of);
        file.map_or_else(|| id.clone(), |file| file.file.name.clone())
    };
    let resolve = |disk: &Disk| {
        Some(DiskFile {
            format: disk.format.clone(),
            parent: disk.parent.as_ref().map(parent_of),
            ..file_of(disk)?.file.clone()
        })
    };
    disks.iter().map(resolve).collect()
}

impl File {
    fn read(element: &BytesStart<'_>) -> Option<Self> {
        let compression = attribute(element, "compression")?;
        Some(Self {
            id: attribute(element, "id")?.unwrap_or_default(),
            file: DiskFile {
                name: attribute(element, "href")?.unwrap_or_default(),
                compression: compression.filter(|name| !name.is_empty() && name != "identity"),
                chunks: attribute(element, "chunkSize")?.is_some(),
                ..DiskFile::default()
            },
        })
    }
}

impl Disk {
    /// `Some(None)` for an empty disk, which no file holds.
    fn read(element: &BytesStart<'_>) -> Option<Option<Self>> {
        let Some(file) = attribute(element, "fileRef")? else {
            return Some(None);
        };
        Some(Some(Self {
            id: attribute(element, "diskId")?.unwrap_or_default(),
            file,
            parent: attribute(element, "parentRef")?,
            format: attribute(element, "format")?.unwrap_or_default(),
        }))
    }
}

/// The value of an attribute, whatever its namespace; `Some(None)` if there is none, `None` if the text is broken.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<Option<String>> {
    // Looking for doubles would take the square of their number.
    for attribute in element.attributes().with_checks(false) {
        let attribute = attribute.ok()?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Explicit1_0).ok()?;
            return Some(Some(value.into_owned()));
        }
    }
    Some(None)
}

/// A name with its `%20` and the like decoded (RFC 3986).
pub(super) fn decoded(name: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| byte == b'%');
        let value = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    decoded
}
