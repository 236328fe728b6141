//! What is built into GRUB's core: modules, a script, and the prefix.
//!
//! Source: GRUB's `include/grub/kernel.h` (`grub_module_info`) and `util/mkimage.c`.

use std::io::Read;

use byteorder::{ByteOrder, LittleEndian};

/// Begins the list of what is built in.
const MAGIC: &[u8] = b"mimg";
/// Most bytes that a core unpacks to.
const MAX_UNPACKED: u32 = 32 << 20;
/// Largest decompressor in front of the packed core, in bytes.
const MAX_DECOMPRESSOR: usize = 0xe00;
/// Settings of the packing: lc = 3, lp = 0, pb = 2.
const LZMA: (u32, u32, u32) = (3, 0, 2);
const DICTIONARY: u32 = 1 << 16;

/// What is built in.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Core {
    pub(super) prefix: String,
    pub(super) script: Option<String>,
    pub(super) modules: Vec<String>,
    /// The configuration in the disk in memory that is built in.
    pub(super) memdisk_script: Option<String>,
}

impl Core {
    /// Reads the list in a core that is not packed; `None` where there is none.
    pub(super) fn read(bytes: &[u8], is_64_bit: bool) -> Option<Self> {
        let mut from = 0;
        while let Some(at) = find(&bytes[from..], MAGIC) {
            if let Some(core) = Self::read_at(&bytes[from + at..], is_64_bit) {
                return Some(core);
            }
            from += at + MAGIC.len();
        }
        None
    }

    fn read_at(bytes: &[u8], is_64_bit: bool) -> Option<Self> {
        let (offset, size) = if is_64_bit {
            let number = |at: usize| bytes.get(at..at + 8).map(LittleEndian::read_u64);
            (number(8)?, number(16)?)
        } else {
            let number = |at: usize| bytes.get(at..at + 4).map(LittleEndian::read_u32);
            (u64::from(number(4)?), u64::from(number(8)?))
        };
        let (mut at, end) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
        let bytes = bytes.get(..end)?;
        let mut core = Self::default();
        let mut objects = 0;
        while at + 8 <= end {
            let kind = LittleEndian::read_u32(&bytes[at..]);
            let size = LittleEndian::read_u32(&bytes[at + 4..]) as usize;
            let content = bytes.get(at + 8..at.checked_add(size)?)?;
            core.add(kind, content);
            objects += 1;
            at += size.max(8);
        }
        (objects > 0).then_some(core)
    }

    fn add(&mut self, kind: u32, content: &[u8]) {
        let text = || {
            let text = content.split(|&byte| byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        match kind {
            0 => self.modules.extend(module_name(content)),
            1 => self.memdisk_script = memdisk_script(content),
            2 => self.script = Some(text()),
            3 => self.prefix = text(),
            _ => {}
        }
    }
}

/// The `grub.cfg` in a disk in memory with a FAT file system, as Debian builds it in.
fn memdisk_script(disk: &[u8]) -> Option<String> {
    let disk = std::io::Cursor::new(disk.to_vec());
    let options = fatfs::FsOptions::new().update_accessed_date(false);
    let files = fatfs::FileSystem::new(disk, options).ok()?;
    let mut text = String::new();
    let file = files.root_dir().open_file("grub.cfg").ok()?;
    file.take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Name of a module, which stands in a section of its own.
fn module_name(elf: &[u8]) -> Option<String> {
    use object::{Object, ObjectSection};
    let file = object::File::parse(elf).ok()?;
    let name = file.section_by_name(".modname")?.data().ok()?;
    let name = name.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Unpacks a core for BIOS: a decompressor of unknown size, then a stream of LZMA without header.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let size = LittleEndian::read_u32(packed.get(0x0c..0x10)?);
    if size == 0 || size > MAX_UNPACKED {
        return None;
    }
    // The stream begins at a multiple of 16 with a zero.
    for at in (0x100..MAX_DECOMPRESSOR.min(packed.len())).step_by(4) {
        if packed[at] != 0 || packed[at..].iter().take(16).all(|&byte| byte == 0) {
            continue;
        }
        let (lc, lp, pb) = LZMA;
        let stream = &packed[at..];
        let Ok(mut reader) =
            lzma_rust2::LzmaReader::new(stream, u64::from(size), lc, lp, pb, DICTIONARY, None)
        else {
            continue;
        };
        let mut unpacked = Vec::new();
        let complete = reader
            .by_ref()
            .take(u64::from(size))
            .read_to_end(&mut unpacked)
            .is_ok()
            && unpacked.len() == size as usize;
        if complete && find(&unpacked, MAGIC).is_some() {
            return Some(unpacked);
        }
    }
    None
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
