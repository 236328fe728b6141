//! Programs for UEFI (PE/COFF), and which boot loader one is.
//!
//! Source: Microsoft's "PE Format", the UEFI Specification 2.10, section 2.1.1.

use std::ops::Range;

use object::read::pe::PeFile64;
use object::{Object, ObjectSection, pe};

/// What a program is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Loader {
    /// shim, which starts another loader beside it.
    Shim,
    /// GRUB.
    Grub,
    /// systemd-boot.
    SystemdBoot,
    /// A kernel with everything that it needs in one program.
    UnifiedKernel,
    /// A Linux kernel that is a program itself.
    Kernel,
    /// Any other.
    Other,
}

/// A program for UEFI.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Program {
    /// Machine type of the header.
    pub(crate) machine: u16,
    /// What it is.
    pub(crate) loader: Loader,
    /// Names of its sections, and where they lie in the file.
    sections: Vec<(String, usize, usize)>,
    /// Where its signatures lie; `None` where it has none.
    pub(crate) certificates: Option<Certificates>,
}

/// Where the signatures of a program lie, and what they do not cover, in bytes of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Certificates {
    /// The checksum in the header, of 4 bytes.
    pub(crate) checksum: usize,
    /// The entry of the header that says where the signatures lie, of 8 bytes.
    pub(crate) directory: usize,
    /// The signatures.
    pub(crate) table: Range<usize>,
    /// All headers, and the sections behind them in the order of the file.
    pub(crate) parts: Vec<Range<usize>>,
}

impl Certificates {
    fn find(
        bytes: &[u8],
        file: &PeFile64<'_>,
        sections: &[(String, usize, usize)],
    ) -> Option<Self> {
        let entry = file.data_directory(pe::IMAGE_DIRECTORY_ENTRY_SECURITY)?;
        // The address is an offset of the file, for signatures are not loaded.
        let start = entry.virtual_address.get(object::LittleEndian) as usize;
        let size = entry.size.get(object::LittleEndian) as usize;
        let headers = file.dos_header().nt_headers_offset() as usize;
        // Behind the signature and the header of the file.
        let optional = headers.checked_add(24)?;
        let all = file.nt_headers().optional_header.size_of_headers;
        let mut parts: Vec<_> = sections
            .iter()
            .map(|(_, start, end)| *start..*end)
            .collect();
        parts.sort_by_key(|part| part.start);
        parts.insert(0, 0..all.get(object::LittleEndian) as usize);
        let found = Self {
            parts,
            checksum: optional.checked_add(64)?,
            directory: optional.checked_add(112 + 8 * pe::IMAGE_DIRECTORY_ENTRY_SECURITY)?,
            table: start..start.checked_add(size)?,
        };
        (size > 0 && found.table.end <= bytes.len()).then_some(found)
    }
}

/// Why bytes are no program that UEFI starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NoProgram {
    /// The file is empty.
    Empty,
    /// The headers are not those of a program.
    Form(String),
    /// It is a program for something else than UEFI.
    Subsystem(u16),
    /// It ends before its sections do.
    Truncated,
}

impl std::fmt::Display for NoProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Form(why) => write!(f, "it is no program for UEFI: {why}"),
            Self::Subsystem(number) => {
                write!(f, "it is a program for another system (subsystem {number})")
            }
            Self::Truncated => f.write_str("it is cut off before the end of its sections"),
        }
    }
}

impl Program {
    /// Reads the headers of a program, whose bytes must be there to the end of its sections.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, NoProgram> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Err(NoProgram::Empty);
        }
        let file = PeFile64::parse(bytes).map_err(|error| NoProgram::Form(error.to_string()))?;
        let header = file.nt_headers();
        let machine = header.file_header.machine.get(object::LittleEndian);
        let optional = &header.optional_header;
        let subsystem = optional.subsystem.get(object::LittleEndian);
        if !matches!(subsystem, 10..=13) {
            return Err(NoProgram::Subsystem(subsystem));
        }
        let mut sections = Vec::new();
        for section in file.sections().take(96) {
            let Some((offset, size)) = section.file_range() else {
                continue;
            };
            let (start, end) = (offset as usize, offset.saturating_add(size) as usize);
            if end > bytes.len() {
                return Err(NoProgram::Truncated);
            }
            sections.push((section.name().unwrap_or_default().to_owned(), start, end));
        }
        let certificates = Certificates::find(bytes, &file, &sections);
        let mut program = Self {
            machine,
            loader: Loader::Other,
            sections,
            certificates,
        };
        program.loader = program.recognize(bytes);
        Ok(program)
    }

    /// The bytes of a section; `None` where there is none of this name.
    pub(crate) fn section<'b>(&self, bytes: &'b [u8], name: &str) -> Option<&'b [u8]> {
        let (_, start, end) = self.sections.iter().find(|(found, _, _)| found == name)?;
        bytes.get(*start..*end)
    }

    fn recognize(&self, bytes: &[u8]) -> Loader {
        let has = |name: &str| self.sections.iter().any(|(found, _, _)| found == name);
        let contains = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let sbat = self.section(bytes, ".sbat").unwrap_or_default();
        let sbat = String::from_utf8_lossy(sbat);
        let names = |product: &str| sbat.lines().any(|line| line.starts_with(product));
        match () {
            () if has(".linux") => Loader::UnifiedKernel,
            () if has("mods") || names("grub,") => Loader::Grub,
            () if has(".sdmagic") || names("systemd-boot,") => Loader::SystemdBoot,
            () if contains(b"#### LoaderInfo: systemd-boot") => Loader::SystemdBoot,
            () if names("shim,") || contains(&utf16("grubx64.efi")) => Loader::Shim,
            () if contains(&utf16("grubaa64.efi")) => Loader::Shim,
            () if bytes.get(0x202..0x206) == Some(b"HdrS") => Loader::Kernel,
            () if bytes.get(0x38..0x3c) == Some(b"ARM\x64") => Loader::Kernel,
            () => Loader::Other,
        }
    }
}

/// A text as UEFI has it.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
