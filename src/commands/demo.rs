//! `vhdfs demo`: three small images to try everything on, made without any other tool.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use thiserror::Error;
use vhd::footer::{Footer, Identity};

use super::Failure;
use crate::cli::DemoArgs;

const SECTOR: usize = 512;
const MIB: usize = 1 << 20;
/// Entries of a GPT, their size in bytes, and the sectors that they take (UEFI 2.10, 5.3).
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const TABLE_SECTORS: usize = ENTRIES * ENTRY / SECTOR;
/// The type of a basic data partition, as it is written to disk.
const BASIC_DATA: [u8; 16] = [
    0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7,
];
/// Bytes of a cluster of the qcow2 image.
const CLUSTER: usize = 1 << 16;

/// Why an image could not be made.
#[derive(Debug, Error)]
#[error("{}: cannot be made: {}; name a folder that you may write [unwritable]", .0.display(), .1)]
struct DemoError(PathBuf, #[source] io::Error);

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| DemoError(path, error)
    };
    fs::create_dir_all(&args.folder).map_err(failed(&args.folder))?;
    let server = partitioned_disk(24 * MIB).map_err(failed(&args.folder))?;
    let images = [
        ("server.raw", server.clone()),
        (
            "web.qcow2",
            compressed_qcow2(&server).map_err(failed(&args.folder))?,
        ),
        ("data.vhd", odd_vhd(21 * MIB + 7 * SECTOR)),
    ];
    for (name, content) in images {
        let path = args.folder.join(name);
        write_sparse(&path, &content).map_err(failed(&path))?;
    }
    Ok(())
}

/// Writes a file with holes where there are only zeros.
fn write_sparse(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path)?;
    file.set_len(content.len() as u64)?;
    for (index, block) in content.chunks(4096).enumerate() {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, index as u64 * 4096)?;
        }
    }
    Ok(())
}

/// A disk with a GPT and a FAT file system that holds a note.
fn partitioned_disk(size: usize) -> io::Result<Vec<u8>> {
    let (first, last) = (MIB / SECTOR, size / SECTOR - TABLE_SECTORS - 2);
    let mut disk = vec![0; size];
    write_gpt(&mut disk, first, last);
    let partition = &mut disk[first * SECTOR..(last + 1) * SECTOR];
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"VHDFS DEMO ");
    fatfs::format_volume(Cursor::new(&mut *partition), options)?;
    let files = fatfs::FileSystem::new(Cursor::new(partition), fatfs::FsOptions::new())?;
    let mut note = files.root_dir().create_file("README.TXT")?;
    note.write_all(b"This disk was made by vhdfs to try vhdfs on.\r\n")?;
    drop(note);
    files.unmount()?;
    Ok(disk)
}

fn write_gpt(disk: &mut [u8], first: usize, last: usize) {
    let sectors = disk.len() / SECTOR;
    let mut entries = vec![0; ENTRIES * ENTRY];
    entries[..16].copy_from_slice(&BASIC_DATA);
    entries[16..32].copy_from_slice(b"vhdfs demo disk\0");
    LittleEndian::write_u64(&mut entries[32..], first as u64);
    LittleEndian::write_u64(&mut entries[40..], last as u64);
    for (index, letter) in "demo".encode_utf16().enumerate() {
        LittleEndian::write_u16(&mut entries[56 + 2 * index..], letter);
    }
    let backup = sectors - 1;
    for (here, there, table) in [(1, backup, 2), (backup, 1, backup - TABLE_SECTORS)] {
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        LittleEndian::write_u32(&mut header[8..], 0x1_0000);
        LittleEndian::write_u32(&mut header[12..], 92);
        LittleEndian::write_u64(&mut header[24..], here as u64);
        LittleEndian::write_u64(&mut header[32..], there as u64);
        LittleEndian::write_u64(&mut header[40..], 2 + TABLE_SECTORS as u64);
        LittleEndian::write_u64(&mut header[48..], last as u64);
        header[56..72].copy_from_slice(b"vhdfs demo table");
        LittleEndian::write_u64(&mut header[72..], table as u64);
        LittleEndian::write_u32(&mut header[80..], ENTRIES as u32);
        LittleEndian::write_u32(&mut header[84..], ENTRY as u32);
        LittleEndian::write_u32(&mut header[88..], crc32fast::hash(&entries));
        let checksum = crc32fast::hash(&header);
        LittleEndian::write_u32(&mut header[16..], checksum);
        disk[here * SECTOR..][..92].copy_from_slice(&header);
        disk[table * SECTOR..][..entries.len()].copy_from_slice(&entries);
    }
    // The protective MBR: one partition of type 0xEE over the whole disk.
    disk[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    LittleEndian::write_u32(&mut disk[458..], backup as u32);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// A qcow2 image, version 2, with every cluster that is not zero compressed (QEMU's
/// docs/interop/qcow2.txt). One L2 table is enough for a small disk.
fn compressed_qcow2(disk: &[u8]) -> io::Result<Vec<u8>> {
    // Header, refcount table, refcount block, L1 table, L2 table, then the compressed clusters.
    let mut image = vec![0; 5 * CLUSTER];
    image[..4].copy_from_slice(b"QFI\xfb");
    BigEndian::write_u32(&mut image[4..], 2);
    BigEndian::write_u32(&mut image[20..], CLUSTER.trailing_zeros());
    BigEndian::write_u64(&mut image[24..], disk.len() as u64);
    BigEndian::write_u32(&mut image[36..], 1);
    BigEndian::write_u64(&mut image[40..], 3 * CLUSTER as u64);
    BigEndian::write_u64(&mut image[48..], CLUSTER as u64);
    BigEndian::write_u32(&mut image[56..], 1);
    BigEndian::write_u64(&mut image[CLUSTER..], 2 * CLUSTER as u64);
    // The bit says that the table is used once.
    BigEndian::write_u64(&mut image[3 * CLUSTER..], (4 * CLUSTER as u64) | (1 << 63));
    let mut uses = vec![1_u16; 5];
    for (index, cluster) in disk.chunks(CLUSTER).enumerate() {
        if cluster.iter().all(|&byte| byte == 0) {
            continue;
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(cluster)?;
        let packed = encoder.finish()?;
        // Offset in the lower bits, further sectors above them: 70 − 16 bits of offset.
        let offset = image.len();
        let sectors = (offset % SECTOR + packed.len()).div_ceil(SECTOR) - 1;
        let entry = (1 << 62) | ((sectors as u64) << 54) | offset as u64;
        BigEndian::write_u64(&mut image[4 * CLUSTER + 8 * index..], entry);
        image.extend(packed);
        // A cluster of the file is used once for each that lies in it, or in a sector of it.
        let end = (offset / SECTOR + sectors + 1) * SECTOR;
        uses.resize(end.div_ceil(CLUSTER).max(uses.len()), 0);
        uses[offset / CLUSTER..end.div_ceil(CLUSTER)]
            .iter_mut()
            .for_each(|count| *count += 1);
    }
    image.resize(image.len().next_multiple_of(CLUSTER), 0);
    for (cluster, count) in uses.into_iter().enumerate() {
        BigEndian::write_u16(&mut image[2 * CLUSTER + 2 * cluster..], count);
    }
    Ok(image)
}

/// A fixed VHD of a size that Azure does not take.
fn odd_vhd(size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    for (index, block) in content.chunks_mut(SECTOR).take(64).enumerate() {
        block.fill(index as u8);
    }
    let identity = Identity {
        base_name: b"data.vhd",
        source_size: size as u64,
        mtime_seconds: 0,
    };
    content.extend(Footer::fixed(identity, size as u64).encode());
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::format::Format;

    #[test]
    fn the_images_are_what_they_say() {
        let disk = partitioned_disk(24 * MIB).unwrap();
        assert_eq!(Format::of(&disk).unwrap(), Format::RAW);
        assert_eq!(
            Format::of(&odd_vhd(MIB + SECTOR)).unwrap(),
            Format::FIXED_VHD
        );
        let qcow2 = compressed_qcow2(&disk).unwrap();
        assert!(qcow2.len() < MIB, "{}", qcow2.len());
    }
}
