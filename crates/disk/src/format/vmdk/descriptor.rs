//! The descriptor of a VMDK: a text that names its type, its parent and its extents.

use crate::format::{Format, FormatError};

/// Number of extents that are read at most; a split disk of 2 TiB has 1,024.
const MAX_EXTENTS: usize = 1024;
/// The value of `parentCID` if there is no parent.
const NO_PARENT: &str = "ffffffff";

/// The types that are read. ESX calls its flat disks `vmfs`.
const DISKS: [&str; 6] = [
    "monolithicSparse",
    "streamOptimized",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "vmfs",
];
/// The types whose data lies on a device, with the names that ESX and Workstation give them.
const DEVICES: [&str; 7] = [
    "fullDevice",
    "partitionedDevice",
    "vmfsRaw",
    "vmfsRDM",
    "vmfsRDMP",
    "vmfsRawDeviceMap",
    "vmfsPassthroughRawDeviceMap",
];
/// The types of which ESX makes its snapshots.
const DELTAS: [&str; 2] = ["vmfsSparse", "seSparse"];

/// What a descriptor says.
#[derive(Debug, Default)]
pub(super) struct Descriptor {
    pub(super) create_type: String,
    parent_cid: Option<String>,
    parent_name: Option<String>,
    encrypted: bool,
    /// A line of an extent is none that is read; of a disk that is read, that is.
    bad_extent: bool,
    pub(super) extents: Vec<Extent>,
}

/// A line that says where a part of the disk is.
#[derive(Debug)]
pub(super) struct Extent {
    /// Number of sectors.
    pub(super) sectors: u64,
    pub(super) kind: Kind,
}

/// What an extent is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Zero,
    Flat {
        name: Vec<u8>,
        /// Offset of its first sector in the file, in sectors.
        offset: u64,
    },
    Sparse {
        name: Vec<u8>,
    },
}

/// Why a text is no descriptor.
#[derive(Debug)]
pub(super) enum Bad {
    /// A line of it, or the lack of one.
    Syntax,
    /// What it describes is not read.
    Refused(FormatError),
}

impl Descriptor {
    /// # Errors
    ///
    /// [`Bad`].
    pub(super) fn parse(text: &[u8]) -> Result<Self, Bad> {
        let mut found = Self::default();
        // An embedded descriptor is filled up with zeros.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            found.line(line.trim_ascii())?;
        }
        found.check()?;
        Ok(found)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Bad> {
        let word = line.split(u8::is_ascii_whitespace).next();
        match word.unwrap_or_default() {
            b"RW" | b"RDONLY" | b"NOACCESS" => {
                if self.extents.len() == MAX_EXTENTS {
                    return Err(Bad::Refused(FormatError::Limit {
                        what: "number of extents",
                        value: self.extents.len() as u64 + 1,
                        limit: MAX_EXTENTS as u64,
                    }));
                }
                match Extent::parse(line) {
                    Some(extent) => self.extents.push(extent),
                    None => self.bad_extent = true,
                }
            }
            word if word.starts_with(b"#") => {}
            _ => {
                let mut parts = line.splitn(2, |byte| *byte == b'=');
                if let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                    self.set(key, value);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let key = key.trim_ascii().to_ascii_lowercase();
        let value = value.trim_ascii();
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        let value = || String::from_utf8_lossy(value).into_owned();
        match key.as_slice() {
            b"createtype" => self.create_type = value(),
            b"parentcid" => self.parent_cid = Some(value()),
            b"parentfilenamehint" => self.parent_name = Some(value()),
            // Workstation encrypts what follows its key safe, ESXi by a filter between the virtual machine and its disk.
            _ if key.starts_with(b"encryption.") => self.encrypted = true,
            _ if key.ends_with(b"iofilters") => self.encrypted |= value().contains("crypt"),
            _ => {}
        }
    }

    /// Whether it describes what is read.
    fn check(&self) -> Result<(), Bad> {
        if self.encrypted {
            return Err(Bad::Refused(FormatError::Encrypted(Format::VMDK)));
        }
        let has_parent = self
            .parent_cid
            .as_ref()
            .is_some_and(|cid| !cid.eq_ignore_ascii_case(NO_PARENT));
        let kind = self.create_type.as_str();
        if has_parent || DELTAS.contains(&kind) {
            return Err(Bad::Refused(FormatError::Differencing {
                parent: self.parent_name.clone(),
            }));
        }
        if DEVICES.contains(&kind) {
            return Err(Bad::Refused(FormatError::NoDisk {
                format: Format::VMDK,
                reason: "maps a device of its host, where the data is: copy that device to an image",
            }));
        }
        if kind.is_empty() || self.bad_extent {
            return Err(Bad::Syntax);
        }
        if !DISKS.contains(&kind) {
            return Err(Bad::Refused(FormatError::UnknownFeature(format!(
                "a VMDK of the type `{}`",
                kind.replace(char::is_control, "?")
            ))));
        }
        Ok(())
    }
}

impl Extent {
    /// Name of its file; `None` if it has none.
    pub(super) fn name(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Zero => None,
            Kind::Flat { name, .. } | Kind::Sparse { name } => Some(name),
        }
    }

    /// Reads `RW 63 FLAT "name" 0`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut quoted = line.splitn(3, |byte| *byte == b'"');
        let before = quoted.next().unwrap_or_default();
        let name = quoted.next().map(<[u8]>::to_vec);
        let behind = quoted.next().map(<[u8]>::trim_ascii);
        let mut words = before
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let access = words.next();
        let sectors = words.next().and_then(number)?;
        let kind = match (words.next().unwrap_or_default(), name, behind) {
            (b"ZERO", ..) => Kind::Zero,
            // A part that must not be read, such as a partition of a device that a guest does not get.
            _ if access == Some(b"NOACCESS") => return None,
            (b"SPARSE", Some(name), _) => Kind::Sparse { name },
            (b"FLAT", Some(name), Some(offset)) => Kind::Flat {
                name,
                offset: number(offset)?,
            },
            (b"VMFS", Some(name), _) => Kind::Flat { name, offset: 0 },
            _ => return None,
        };
        Some(Self { sectors, kind })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
