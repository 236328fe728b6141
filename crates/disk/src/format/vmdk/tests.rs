use proptest::prelude::*;
use proptest::sample::Index;

use super::writer::{Writer, descriptor};
use crate::Disk;
use crate::format::samples::{self, blocks, bytes, requests};
use crate::format::testing::{ALL, check_runs, open, open_one, read_all, refusal};
use crate::format::{Damage, Defect, FormatError, Options, Origin};

fn image() -> impl Strategy<Value = Writer> {
    prop_oneof![Just(1_usize), Just(8), Just(16)]
        .prop_flat_map(|grain| {
            let count = if grain == 1 { 150 } else { 16 };
            let entries = prop_oneof![Just(4_usize), Just(64), Just(512)];
            let blocks = blocks(grain * 512, count);
            (
                blocks,
                Just(grain),
                entries,
                0..grain as u64,
                any::<[bool; 2]>(),
            )
        })
        .prop_map(|((grains, order), grain, table_entries, cut, flags)| {
            let image = Writer::new(grain, grains);
            Writer {
                capacity: image.capacity - cut,
                order,
                table_entries,
                zero_grains: flags[0],
                second_directory: flags[1],
                ..image
            }
        })
}

fn want(image: &Writer) -> Vec<u8> {
    samples::disk(&image.grains, image.grain * 512, image.capacity * 512)
}

fn small() -> Writer {
    Writer::new(8, vec![Some(bytes(1, 4096)), None, Some(bytes(2, 4096))])
}

fn text(create_type: &str, extents: &str) -> Vec<u8> {
    descriptor(create_type, extents).into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 48 }))]

    #[test]
    fn reads_equal_the_model(image in image(), requests in requests()) {
        samples::check(&[("disk.vmdk", image.sparse().file)], &want(&image), &requests);
    }

    #[test]
    fn streams_equal_the_model(image in image(), requests in requests()) {
        let file = image.stream().file;
        let disk = open_one("disk.vmdk", file.clone()).unwrap();
        prop_assert_eq!(disk.details().compression, Some("zlib"));
        samples::check(&[("disk.vmdk", file)], &want(&image), &requests);
    }

    #[test]
    fn several_extents_equal_the_model(first in image(), second in image(), flat in 1..40_usize, requests in requests()) {
        let cut = |image: Writer| Writer { descriptor: String::new(), ..image };
        let (first, second) = (cut(first), cut(second));
        let data = bytes(9, 512 * (flat + 2));
        let extents = format!(
            "RW {} SPARSE \"a s001.vmdk\"\nRW 3 ZERO\nRW {flat} FLAT \"a-f.vmdk\" 2\nRW {} SPARSE \"a-s002.vmdk\"",
            first.capacity, second.capacity,
        );
        let folder = [
            ("a.vmdk", text("twoGbMaxExtentSparse", &extents)),
            ("a s001.vmdk", first.sparse().file),
            ("a-f.vmdk", data.clone()),
            ("a-s002.vmdk", second.stream().file),
        ];
        let want = [want(&first), vec![0; 3 * 512], data[1024..].to_vec(), want(&second)].concat();
        samples::check(&folder, &want, &requests);
    }

    #[test]
    fn a_changed_byte_changes_nothing_else(
        image in image(),
        stream: bool,
        flips in proptest::collection::vec((any::<Index>(), 1..=255_u8), 3),
    ) {
        let written = if stream { image.stream() } else { image.sparse() };
        for (at, flip) in flips {
            samples::check_flip("disk.vmdk", &written, &want(&image), at, flip);
        }
    }

    #[test]
    fn what_is_cut_off_is_never_zeros(image in image(), stream: bool, end: Index) {
        let written = if stream { image.stream() } else { image.sparse() };
        samples::check_cut("disk.vmdk", &written, &want(&image), end);
    }

    #[test]
    fn any_descriptor_is_refused_or_read(
        text in ".{0,200}",
        lines in proptest::collection::vec("(RW|RDONLY|x) [0-9]{1,20} (FLAT|SPARSE|ZERO|VMFS)( \"(a|b|/|)\")?( [0-9]{1,20})?", 0..4),
    ) {
        let text = descriptor("monolithicFlat", &format!("{text}\n{}", lines.join("\n")));
        let folder = [
            ("disk.vmdk", text.into_bytes()),
            ("a", bytes(1, 4096)),
            ("b", small().stream().file),
        ];
        if let Ok(disk) = open(&folder, ALL) {
            samples::survives(&disk);
        }
    }
}

#[test]
fn flat_extents_are_where_the_descriptor_says() {
    let data = bytes(1, 20 * 512);
    for (kind, extents) in [
        ("monolithicFlat", "RW 20 FLAT \"disk-flat.vmdk\" 0"),
        ("vmfs", "RW 20 VMFS \"disk-flat.vmdk\""),
        (
            "twoGbMaxExtentFlat",
            "RW 12 FLAT \"disk-flat.vmdk\" 0\nRDONLY 8 FLAT \"disk-flat.vmdk\" 12",
        ),
    ] {
        let folder = [
            ("disk.VMDK", text(kind, extents)),
            ("disk-flat.vmdk", data.clone()),
        ];
        let disk = open(&folder, ALL).unwrap();
        assert_eq!(disk.details().variant.as_deref(), Some(kind));
        assert_eq!(disk.details().block_size, None);
        assert_eq!(read_all(&disk), data);
        check_runs(&disk, &data);
        let runs: Vec<_> = disk
            .runs(crate::ByteRange::new(0, u64::MAX))
            .map(Result::unwrap)
            .collect();
        assert!(
            matches!(runs[0].origin, Origin::File { file: 1, offset: 0 }),
            "{runs:?}"
        );
        // Without --chains, too: extents are parts of the image.
        assert!(open(&folder, Options::default()).is_ok());
    }
}

#[test]
fn extents_are_files_of_the_same_folder() {
    for name in [
        "../other.vmdk",
        "/etc/shadow",
        "a/b.vmdk",
        r"C:\b.vmdk",
        "..",
        ".",
    ] {
        let file = text("monolithicFlat", &format!("RW 8 FLAT \"{name}\" 0"));
        assert_eq!(
            refusal("disk.vmdk", file),
            format!(
                "names its extent `{name}`, and an extent has to lie in the same folder: \
                 put it there, and correct its name in the descriptor"
            )
        );
    }
    // What a guest wrote into its disk opens no file.
    let file = text("monolithicFlat", "RW 8 FLAT \"secret.img\" 0");
    assert_eq!(
        refusal("disk.raw", file),
        "needs its extent secret.img, which is opened only for an image whose extension says VMDK: \
         rename it to end with .vmdk"
    );
}

#[test]
fn an_image_that_is_its_own_extent_is_refused() {
    let file = text("monolithicFlat", "RW 1 FLAT \"disk.vmdk\" 0");
    let error = open(&[("disk.vmdk", file)], ALL).unwrap_err();
    assert!(matches!(error, FormatError::Circle(_)), "{error}");
}

#[test]
fn extents_that_are_cut_off_are_refused() {
    let folder = [
        (
            "disk.vmdk",
            text("monolithicFlat", "RW 20 FLAT \"disk-flat.vmdk\" 1"),
        ),
        ("disk-flat.vmdk", vec![1; 20 * 512]),
    ];
    let error = open(&folder, ALL).unwrap_err().to_string();
    assert_eq!(
        error,
        "damaged: the extent at byte 512 of disk-flat.vmdk lies past the end of the file: the image is cut off; \
         get the image again, or repair a copy of it with the program that made it"
    );
    // A sparse extent has the size that the descriptor gives it.
    let extent = Writer {
        descriptor: String::new(),
        ..small()
    };
    let folder = [
        (
            "disk.vmdk",
            text("twoGbMaxExtentSparse", "RW 16 SPARSE \"s.vmdk\""),
        ),
        ("s.vmdk", extent.sparse().file),
    ];
    let error = open(&folder, ALL).unwrap_err().to_string();
    assert!(
        error.contains("the header at byte 0 of s.vmdk holds a value"),
        "{error}"
    );
}

#[test]
fn deltas_are_refused_by_their_parents_name() {
    let delta = |text: String, file: &dyn Fn(String) -> Vec<u8>| {
        let text = text.replace(
            "parentCID=ffffffff",
            "parentCID=1234ABCD\r\nparentFileNameHint=\"base disk.vmdk\"",
        );
        assert_eq!(
            refusal("disk-000001.vmdk", file(text)),
            "holds only what was changed in its parent `base disk.vmdk`: merge both with the program that made them"
        );
    };
    delta(
        descriptor("twoGbMaxExtentSparse", "RW 8 SPARSE \"s.vmdk\""),
        &String::into_bytes,
    );
    delta(small().descriptor, &|descriptor| {
        Writer {
            descriptor,
            ..small()
        }
        .sparse()
        .file
    });
    delta(small().descriptor, &|descriptor| {
        Writer {
            descriptor,
            ..small()
        }
        .stream()
        .file
    });
    for kind in ["vmfsSparse", "seSparse"] {
        let file = text(kind, "RW 8 VMFSSPARSE \"s.vmdk\"");
        assert!(
            refusal("disk.vmdk", file).starts_with("holds only what was changed in another image")
        );
    }
}

#[test]
fn devices_encryption_and_unknown_types_are_refused() {
    for kind in [
        "fullDevice",
        "partitionedDevice",
        "vmfsRaw",
        "vmfsRawDeviceMap",
        "vmfsPassthroughRawDeviceMap",
    ] {
        assert_eq!(
            refusal("disk.vmdk", text(kind, "RW 8 FLAT \"/dev/sda\" 0")),
            "VMDK: maps a device of its host, where the data is: copy that device to an image"
        );
    }
    for line in [
        "encryption.keySafe = \"vmware:key/list\"",
        "ddb.iofilters = \"vmwarevmcrypt\"",
        "iofilters=\"x,vmwarevmcrypt\"",
    ] {
        assert_eq!(
            refusal(
                "disk.vmdk",
                text("monolithicFlat", &format!("RW 8 FLAT \"a\" 0\n{line}"))
            ),
            "encrypted VMDK: decrypt it with `qemu-img convert` to another image first"
        );
    }
    assert_eq!(
        refusal("disk.vmdk", text("custom", "RW 8 FLAT \"a\" 0")),
        "needs a VMDK of the type `custom`, which vhdfs cannot read: convert it with `qemu-img convert`"
    );
    assert!(
        refusal("disk.vmdk", text("", "RW 8 FLAT \"a\" 0")).contains("the descriptor at byte 0")
    );
    for extent in [
        "RW 8 FLAT \"a\"",
        "RW x FLAT \"a\" 0",
        "RW 8 STRANGE \"a\" 0",
        "NOACCESS 8 FLAT \"a\" 0",
    ] {
        assert!(
            refusal("disk.vmdk", text("monolithicFlat", extent))
                .contains("the descriptor at byte 0"),
            "{extent}"
        );
    }
    let many = "RW 1 ZERO\n".repeat(1025);
    assert_eq!(
        refusal("disk.vmdk", text("monolithicFlat", &many)),
        "its number of extents is 1025, more than vhdfs and `qemu-img` take (1024)"
    );
    let large = format!("RW {} ZERO", u64::MAX / 512);
    assert!(refusal("disk.vmdk", text("monolithicFlat", &large)).starts_with("its size is"));
}

#[test]
fn an_extent_is_no_image() {
    let alone = "an extent of a VMDK, which is no disk alone: its descriptor is the image, a small text file beside it";
    let extent = Writer {
        descriptor: String::new(),
        ..small()
    };
    assert_eq!(refusal("disk-s001.vmdk", extent.sparse().file), alone);
    // QEMU's extents have room for a descriptor, filled with zeros.
    let empty = Writer {
        descriptor: "\0".to_owned(),
        ..small()
    };
    assert_eq!(refusal("disk-s001.vmdk", empty.sparse().file), alone);
    assert_eq!(refusal("disk.vmdk", b"COWD\x01\0\0\0".repeat(99)), alone);
}

#[test]
fn headers_that_nobody_writes_are_refused() {
    let header = |at: usize, value: &[u8]| {
        let mut file = small().sparse().file;
        file[at..at + value.len()].copy_from_slice(value);
        refusal("disk.vmdk", file)
    };
    let value = "the header at byte 0 of disk.vmdk holds a value that its format does not allow";
    assert_eq!(
        header(4, &[9]),
        "VMDK of version 9, which vhdfs cannot read: convert it with `qemu-img convert`"
    );
    assert!(header(20, &[3]).contains(value));
    assert!(header(20, &[0]).contains(value));
    assert_eq!(
        header(20, &(1_u64 << 31).to_le_bytes()),
        "its grain size is 2147483648, more than vhdfs and `qemu-img` take (2097152)"
    );
    assert!(header(44, &[0, 0]).contains(value));
    assert!(header(44, &[1, 2]).contains(value));
    // A line end that a transfer as text has changed.
    assert!(header(73, b"\r\n").contains(value));
    assert_eq!(
        header(77, &[2]),
        "needs the VMDK compression of type 2, which vhdfs cannot read: convert it with `qemu-img convert`"
    );
    assert!(header(12, &(u64::MAX / 512).to_le_bytes()).starts_with("its number of sectors is"));
    assert!(header(12, &(1_u64 << 40).to_le_bytes()).contains("the grain directory"));
    assert!(header(56, &(1_u64 << 55).to_le_bytes()).contains("the grain directory"));
    assert!(header(56, &[0, 0]).contains("overlaps the image's own tables"));
    assert!(header(64, &(1_u64 << 40).to_le_bytes()).contains("the first grain"));
    assert!(header(36, &(1_u64 << 40).to_le_bytes()).starts_with("its descriptor's size"));
    assert_eq!(header(12, &[0, 0]), "empty: there is no disk in it");
}

#[test]
fn tables_and_grains_out_of_place_are_damage() {
    let image = small();
    let good = image.sparse().file;
    let directory = 512 * u64::from_le_bytes(good[56..64].try_into().unwrap()) as usize;
    let table =
        512 * u32::from_le_bytes(good[directory..directory + 4].try_into().unwrap()) as usize;
    let defect = |at: usize, sector: u32| {
        let mut file = good.clone();
        file[at..at + 4].copy_from_slice(&sector.to_le_bytes());
        let disk = open_one("disk.vmdk", file).unwrap();
        let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err();
        Damage::of(&error).unwrap().defect
    };
    assert_eq!(defect(directory, u32::MAX), Defect::PastEnd);
    // A table that is its own directory, or the header.
    assert_eq!(defect(directory, (directory / 512) as u32), Defect::Overlap);
    assert_eq!(defect(directory, 1), Defect::Overlap);
    assert_eq!(defect(table, u32::MAX), Defect::PastEnd);
    assert_eq!(defect(table, 1), Defect::Overlap);
    assert_eq!(defect(table, (table / 512) as u32 + 1), Defect::Overlap);
    assert_eq!(defect(table, (directory / 512) as u32), Defect::Overlap);
}

#[test]
fn a_grain_of_a_stream_says_which_it_is_and_how_long() {
    let image = small();
    let good = image.stream().file;
    let first = 128 * 512;
    for (at, value, defect) in [
        (first, &[8_u8][..], Defect::Value),
        (first + 8, &[0; 4], Defect::Value),
        (first + 8, &[0xff; 4], Defect::Value),
        (first + 8, &[3, 0, 0, 0], Defect::Compression),
        (first + 12, &[0; 100], Defect::Compression),
    ] {
        let mut file = good.clone();
        file[at..at + value.len()].copy_from_slice(value);
        let disk = open_one("disk.vmdk", file).unwrap();
        let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err();
        assert_eq!(Damage::of(&error).unwrap().defect, defect, "{value:?}");
        let mut rest = vec![0; 8192];
        disk.read_exact_at(&mut rest, 4096).unwrap();
        assert_eq!(rest, want(&image)[4096..]);
    }
    // The end of a stream is its footer: without it, the image is cut off.
    let cut = good[..good.len() - 512].to_vec();
    assert!(
        refusal("disk.vmdk", cut).contains("lies past the end of the file: the image is cut off")
    );
}
