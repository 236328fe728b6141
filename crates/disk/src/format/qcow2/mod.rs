//! qcow2, versions 2 and 3, after docs/interop/qcow2.rst of QEMU.
//!
//! Where QEMU's text leaves something open, this does what `qemu-img convert` does, with one exception: what lies
//! past the end of the file is damage, and never zeros. Only the last sector of a compressed
//! cluster may be cut off by the end of the file, as QEMU's own writer leaves it.

mod header;
mod map;

use header::{Compression, Header};
use map::Clusters;

use super::context::relative_path;
use super::{Backing, Context, Details, Format, FormatError, Kind, Parsed, Reading, Role, Stop};
use crate::codec::Codec;

pub(super) const KIND: Kind = Kind {
    name: "qcow2",
    title: "qcow2",
    qemu_name: None,
    extensions: &["qcow2", "qcow"],
    recognise: |probe| probe.has(0, b"QFI\xfb") && !probe.has(4, &[0, 0, 0, 1]),
    reading: Reading::Parse(parse),
};

fn parse(context: &mut Context<'_>) -> Result<Parsed, Stop> {
    let input = context.input().clone();
    let header = Header::read(&input, context.caches().tables())?;
    let codec = match header.compression {
        Compression::Zlib => Codec::Deflate,
        Compression::Zstd => Codec::Zstd,
    };
    let mut inputs = vec![input.clone()];
    if let Some(name) = &header.data_file {
        if name.is_empty() {
            return Err(FormatError::NotNamed(Role::DataFile).into());
        }
        let name = relative_path(Role::DataFile, name)?;
        inputs.extend(context.further(Role::DataFile, &[&name])?);
    }
    let backing = match &header.backing {
        None => None,
        Some(name) => Some(Backing {
            name: relative_path(Role::Backing, name)?,
            format: header.backing_format.clone(),
        }),
    };
    let details = Details {
        variant: Some(format!("version {}", header.version)),
        block_size: Some(1 << header.cluster_bits),
        compression: Some(match header.compression {
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        }),
        ..Details::new(Format::QCOW2)
    };
    Ok(Parsed::Disk {
        map: Box::new(Clusters::new(&header, input, codec)),
        inputs,
        backing,
        details,
    })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer;
#[cfg(test)]
pub(crate) use writer::{Cluster, Writer};
