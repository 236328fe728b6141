use std::io::Write;
use std::num::NonZeroU64;

use lzma_rust2::{XzOptions, XzWriter};

use crate::Disk;
use crate::format::testing::{ALL, check_runs, open, open_one, read_all, refusal};
use crate::format::{Damage, Options};

fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at / 9) as u8 ^ (at / 4000) as u8)
        .collect()
}

fn xz(content: &[u8], block: Option<u64>) -> Vec<u8> {
    let mut options = XzOptions::with_preset(1);
    // No block is smaller than the dictionary.
    options.lzma_options.dict_size = 4096;
    options.set_block_size(block.and_then(NonZeroU64::new));
    let mut writer = XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

#[test]
fn each_block_is_read_alone() {
    let want = content(3_000_000);
    let disk = open_one("disk.raw.xz", xz(&want, Some(4096))).unwrap();
    assert_eq!(disk.size(), want.len() as u64);
    for at in [0, 4095, 4096, 1_500_000, 2_999_000] {
        let mut found = vec![0; 1000];
        disk.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, want[at as usize..][..1000]);
    }
    assert!(read_all(&disk) == want);
    check_runs(&disk, &want);
    let inner = disk.details().inner.as_ref().unwrap();
    assert_eq!(inner.format.name(), "raw");
}

#[test]
fn streams_one_after_the_other_are_one_file() {
    let want = content(100_000);
    let mut file = xz(&want[..30_000], Some(1 << 13));
    file.extend([0; 8]);
    file.extend(xz(&want[30_000..30_001], None));
    file.extend(xz(&want[30_001..], Some(1 << 14)));
    file.extend([0; 4]);
    let disk = open_one("disk.xz", file).unwrap();
    assert!(read_all(&disk) == want);
}

#[test]
fn an_image_inside_is_read() {
    use crate::format::qcow2::{Cluster, Writer};
    let clusters = vec![
        Cluster::Data(content(4096)),
        Cluster::Unallocated,
        Cluster::Compressed(content(4096)),
    ];
    let image = Writer::new(12, clusters);
    let file = xz(&image.write().0, Some(4096));
    let disk = open_one("disk.qcow2.xz", file).unwrap();
    assert_eq!(read_all(&disk), image.disk(&[]));
    let with_backing = Writer {
        backing: Some(("base.raw".to_owned(), Some("raw"))),
        ..image
    };
    let text = refusal("disk.qcow2.xz", xz(&with_backing.write().0, Some(4096)));
    assert!(
        text.contains("base.raw, which is not opened for an image inside"),
        "{text}"
    );
}

#[test]
fn refusals_say_why_and_what_to_do() {
    let file = xz(&content(100_000), None);
    let text = refusal("disk.raw.xz", file.clone());
    assert!(
        text.contains("one block") && text.contains("--block-size"),
        "{text}"
    );
    let refused = open(
        &[("disk.raw.xz", file.clone())],
        Options {
            compressed: false,
            ..ALL
        },
    );
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("mount with --compressed"), "{text}");
    let text = refusal("disk.raw.xz", file[..file.len() - 5].to_vec());
    assert!(text.contains("damaged: the index"), "{text}");
}

#[test]
fn a_flipped_byte_is_damage() {
    let want = content(40_000);
    let file = xz(&want, Some(4096));
    // Without its magic it is a raw disk.
    for at in (6..file.len()).step_by(7) {
        let mut file = file.clone();
        file[at] ^= 0x10;
        let Ok(disk) = open_one("disk.raw.xz", file) else {
            continue;
        };
        for start in (0..40_000).step_by(4096) {
            let mut found = vec![0; 100];
            match disk.read_exact_at(&mut found, start) {
                Ok(()) => assert_eq!(found, want[start as usize..][..100], "byte {at}"),
                Err(error) => assert!(Damage::of(&error).is_some()),
            }
        }
    }
}
