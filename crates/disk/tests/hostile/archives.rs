//! Archives and compressed files that were made to hurt.

use crate::harness::{Outcome, Repeated, Sparse, alone, refused, survives};

/// CRC-32 as xz has it.
fn sum(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An xz file with this index, whose blocks are `size` bytes in front of it.
fn xz(index: &[u8], size: u64) -> Sparse {
    let mut index = index.to_vec();
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(sum(&index));
    let flags = [0, 1];
    let mut footer = (index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend(flags);
    let footer = [&sum(&footer), footer.as_slice(), b"YZ"].concat();
    Sparse::new(&[b"\xfd7zXZ\0".as_slice(), &flags, &sum(&flags)].concat())
        .with(12 + size, &index)
        .with(12 + size + index.len() as u64, &footer)
}

#[test]
fn an_xz_index_of_billions_of_blocks_is_refused_or_read_within_bounds() {
    let _alone = alone();
    // It says so many, and has none.
    let index = [vec![0], varint(1 << 32)].concat();
    let text = refused("disk.raw.xz", xz(&index, 1 << 40));
    assert!(text.contains("the index"), "{text}");
    // It is as long as it says.
    let mut long = xz(&index, 1 << 40);
    let footer = [0xff, 0xff, 0xff, 0xff, 0, 1];
    let footer = [&sum(&footer), footer.as_slice(), b"YZ"].concat();
    long = long.with((1 << 40) + (32 << 30), &footer);
    let text = refused("disk.raw.xz", long);
    assert!(text.contains("index's size"), "{text}");
    // As many as are read: each five bytes that hold one.
    let count = 1_000_000_u64;
    let mut index = [vec![0], varint(count)].concat();
    index.extend([5, 1].repeat(count as usize));
    let text = refused("disk.raw.xz", xz(&index, count * 8));
    assert!(text.contains("does not decompress"), "{text}");
}

#[test]
fn an_xz_block_that_claims_much_takes_little() {
    let _alone = alone();
    // Compressed to more than it was, by far.
    let index = [vec![0, 2], varint(30 << 30), varint(1), vec![5, 1]].concat();
    let text = refused("disk.raw.xz", xz(&index, (30 << 30) + 8));
    assert!(text.contains("the index"), "{text}");
    // Blocks of 24 MiB with a dictionary of 4 GiB.
    let (block, packed) = (24_u64 << 20, 4096_u64);
    let header = [2, 0, 0x21, 1, 40, 0, 0, 0];
    let header = [header.as_slice(), &sum(&header)].concat();
    let mut index = vec![0, 100];
    for _ in 0..100 {
        index.extend([varint(packed), varint(block)].concat());
    }
    let mut image = xz(&index, 100 * packed);
    for number in 0..100 {
        // A chunk of zeros that is not compressed, and then none that there is.
        let bytes = [header.as_slice(), &[1, 0xff, 0x0e]].concat();
        image = image.with(12 + number * packed, &bytes);
    }
    let text = refused("disk.raw.xz", image);
    assert!(text.contains("does not decompress"), "{text}");
}

#[test]
fn padding_between_streams_has_an_end() {
    let _alone = alone();
    let text = refused("disk.raw.xz", xz(&[0, 0], 0).sized(1 << 40));
    assert!(text.contains("the index"), "{text}");
}

/// The header of a member of a tar archive.
fn member(name: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn ova(ovf: &str) -> Sparse {
    Sparse::new(&member("vm.ovf", ovf.len() as u64))
        .with(512, ovf.as_bytes())
        .sized((512 + ovf.len() as u64).next_multiple_of(512) + 1024)
}

#[test]
fn an_archive_of_a_million_members_is_refused() {
    let _alone = alone();
    let members = Repeated {
        block: member("x", 0),
        size: 512 << 20,
    };
    let text = refused("vm.ova", members);
    assert!(text.contains("number of members"), "{text}");
    // Names of gibibytes.
    let mut long = member("x", 7 << 30);
    long[156] = b'L';
    long[148..156].fill(b' ');
    let sum: u32 = long.iter().map(|&byte| u32::from(byte)).sum();
    long[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    refused("vm.ova", Sparse::new(&long).sized(8 << 30));
}

#[test]
fn an_ovf_that_is_a_bomb_is_no_ovf() {
    let _alone = alone();
    let lols: String = (1..20)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let laughs = format!(
        "<!DOCTYPE x [<!ENTITY l0 \"lol\">{lols}]><Envelope><References><File id=\"a\" href=\"&l19;\"/></References></Envelope>"
    );
    let deep = "<References>".repeat(300_000);
    let attributes: String = (0..400_000).map(|n| format!(" a{n:x}=''")).collect();
    let wide = format!("<References><File{attributes}/></References>");
    let many = "<References><File id='a' href='b'/></References>".repeat(80_000);
    for ovf in [laughs, deep, wide, many] {
        let text = refused("vm.ova", ova(&ovf));
        assert!(text.contains("OVF"), "{text}");
    }
    refused(
        "vm.ova",
        Sparse::new(&member("vm.ovf", 7 << 30)).sized(8 << 30),
    );
}

#[test]
fn an_ovf_of_a_thousand_disks_is_read_once() {
    let _alone = alone();
    let list = |what: fn(usize) -> String| (0..1_000).map(what).collect::<String>();
    let files = list(|n| format!("<File id='f{n}' href='disk{n}.img'/>"));
    let disks = list(|n| format!("<Disk diskId='d{n}' fileRef='f{n}'/>"));
    let ovf = format!(
        "<Envelope><References>{files}</References><DiskSection>{disks}</DiskSection>{}</Envelope>",
        "<!-- -->".repeat(400_000)
    );
    let mut image = ova(&ovf);
    let mut at = (512 + ovf.len() as u64).next_multiple_of(512);
    for number in 0..1_000 {
        image = image
            .with(at, &member(&format!("disk{number}.img"), 16_384))
            .with(at + 512, &[7; 16_384]);
        at += 512 + 16_384;
    }
    let outcome = survives("vm.ova", image.sized(at + 1024));
    assert!(
        matches!(
            outcome,
            Outcome::Read {
                size: 16_384,
                damaged: 0,
                ..
            }
        ),
        "{outcome:?}"
    );
}
