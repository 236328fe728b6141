//! VMDK after VMware's Virtual Disk Format 5.0: sparse, stream-optimized and flat, in one file or in several.
//!
//! As in QEMU, the first grain directory is read even where there is a second one, and the size of a disk
//! in one sparse extent is that of the extent.

mod descriptor;
mod extents;
mod sparse;

use std::path::{Path, PathBuf};

use descriptor::{Bad, Descriptor, Extent};
use extents::{Extents, Part};
use sparse::{Header, MAGIC, SECTOR};

use super::{
    Context, Defect, Details, Format, FormatError, Input, Kind, Parsed, Reading, Role, Stop,
};
use crate::{ByteRange, Disk};

pub(super) const KIND: Kind = Kind {
    name: "vmdk",
    title: "VMDK",
    qemu_name: None,
    extensions: &["vmdk"],
    recognise: |probe| {
        probe.has(0, MAGIC) || probe.has(0, COWD) || probe.has(0, b"# Disk DescriptorFile")
    },
    reading: Reading::Parse(parse),
};

/// First bytes of a sparse extent of an ESX server. Only deltas are made of them.
const COWD: &[u8; 4] = b"COWD";
/// Largest descriptor that is read, in bytes, as in QEMU.
const MAX_DESCRIPTOR: u64 = 1 << 20;

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let mut magic = [0; 4];
    input.read_exact_at(&mut magic, 0)?;
    match &magic {
        MAGIC => Ok(parse_sparse(&input)?),
        COWD => Err(FormatError::ExtentAlone(Format::VMDK).into()),
        _ => parse_descriptor(context, &input),
    }
}

/// A disk in one sparse extent, which holds its descriptor.
fn parse_sparse(input: &Input) -> Result<Parsed, FormatError> {
    let header = Header::read(input)?;
    let place = header.descriptor();
    let text = read_text(input, place)?;
    if text.iter().all(|byte| *byte == 0) {
        return Err(FormatError::ExtentAlone(Format::VMDK));
    }
    let descriptor = descriptor(input, place.start(), &text)?;
    let map = header.map(input, 0)?;
    let details = details(&descriptor, Some(&header));
    Ok(Parsed::of_one_file(map, input.clone(), details))
}

/// A disk in the extents that a descriptor names.
fn parse_descriptor(context: &mut Context<'_>, input: &Input) -> Result<Parsed, Stop> {
    let text = read_text(input, ByteRange::new(0, input.size()))?;
    let descriptor = descriptor(input, 0, &text)?;
    let names: Vec<_> = descriptor
        .extents
        .iter()
        .filter_map(Extent::name)
        .map(plain_name)
        .collect::<Result<_, _>>()?;
    let names: Vec<&Path> = names.iter().map(PathBuf::as_path).collect();
    let inputs = context.further(Role::Extent, &names)?;
    let mut extents = Extents::default();
    let mut files = inputs.iter().enumerate();
    let mut first_header = None;
    for extent in &descriptor.extents {
        let size = extent.sectors.saturating_mul(SECTOR);
        let part = match (&extent.kind, extent.name().and_then(|_| files.next())) {
            (descriptor::Kind::Flat { offset, .. }, Some((number, file))) => {
                let start = offset.saturating_mul(SECTOR);
                let place = ByteRange::at(start, size);
                file.check_inside("the extent", place)?;
                Part::Flat {
                    input: number,
                    offset: start,
                }
            }
            (descriptor::Kind::Sparse { .. }, Some((number, file))) => {
                let header = Header::read(file)?;
                if header.size() != size {
                    return Err(file.damage("the header", 0, Defect::Value).into());
                }
                let map = header.map(file, number)?;
                first_header.get_or_insert(header);
                Part::Sparse(map)
            }
            _ => Part::Zeros,
        };
        extents.push(size, part)?;
    }
    Ok(Parsed::Disk {
        map: Box::new(extents),
        inputs,
        backing: None,
        details: details(&descriptor, first_header.as_ref()),
    })
}

fn details(descriptor: &Descriptor, header: Option<&Header>) -> Details {
    let compressed = header.is_some_and(Header::is_compressed);
    Details {
        variant: Some(descriptor.create_type.clone()),
        block_size: header.map(Header::grain_size),
        compression: compressed.then_some("zlib"),
        ..Details::new(Format::VMDK)
    }
}

fn read_text(input: &Input, place: ByteRange) -> Result<Vec<u8>, FormatError> {
    if place.len() > MAX_DESCRIPTOR {
        return Err(FormatError::Limit {
            what: "descriptor's size",
            value: place.len(),
            limit: MAX_DESCRIPTOR,
        });
    }
    input.check_inside("the descriptor", place)?;
    let mut text = vec![0; place.len() as usize];
    input.read_exact_at(&mut text, place.start())?;
    Ok(text)
}

fn descriptor(input: &Input, at: u64, text: &[u8]) -> Result<Descriptor, FormatError> {
    Descriptor::parse(text).map_err(|bad| match bad {
        Bad::Refused(error) => error,
        Bad::Syntax => input.damage("the descriptor", at, Defect::Value).into(),
    })
}

/// The path that the name of an extent stands for: a file in the folder of the image.
fn plain_name(name: &[u8]) -> Result<PathBuf, FormatError> {
    use std::os::unix::ffi::OsStrExt;

    let leads_elsewhere = name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0));
    if leads_elsewhere || matches!(name, b"" | b"." | b"..") {
        return Err(FormatError::ExtentElsewhere(name.to_vec()));
    }
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;
