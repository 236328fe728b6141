//! Geometry, layout and footer against the independent oracle.

use std::collections::BTreeSet;
use std::fs;

use crate::harness::oracle::ask_oracle;
use crate::harness::process::{repository, test_file};
use crate::harness::{MIB, Rng};
use disk::ByteRange;
use serde_json::{Value, json};
use vhd::Geometry;
use vhd::footer::{FOOTER_SIZE, Footer, Identity, SECTOR_SIZE};
use vhd::layout::{Layout, Origin};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Sizes on both sides of everything the algorithm distinguishes.
fn sizes() -> BTreeSet<u64> {
    let mut sectors = vec![17 * 4 * 1024, 31 * 16 * 1024];
    sectors.extend((4..=17).flat_map(|heads| [17 * 1024 * heads, 17 * (1024 * heads + 1)]));
    sectors.extend([63, 255].map(|track| 65_535 * 16 * track));
    // A geometry of 32-bit sector counts wraps here.
    sectors.push(1 << 32);
    let mut sizes: BTreeSet<u64> = sectors
        .into_iter()
        .flat_map(|sectors: u64| [sectors - 1, sectors, sectors + 1])
        .map(|sectors| sectors * SECTOR_SIZE)
        .collect();
    for size in [2040 * GIB, 4095 * GIB, 32_767 * GIB, 32 * TIB] {
        sizes.extend([size - MIB, size, size + MIB]);
    }
    sizes.extend([1, 511, 512, 513, MIB - 1, MIB, MIB + 1, 20 * MIB, 127 * GIB]);
    sizes.extend((1..=1200).map(|mib| mib * MIB));
    let mut rng = Rng::new(1);
    sizes.extend((0..2000).map(|_| {
        let bits = 1 + rng.below(45);
        1 + rng.below(1 << bits)
    }));
    sizes
}

#[test]
fn geometry_is_the_oracles() {
    let sizes: Vec<u64> = sizes().into_iter().collect();
    let questions: Vec<String> = sizes
        .iter()
        .map(|size| format!("geometry {size}"))
        .collect();
    for (size, answer) in sizes.iter().zip(ask_oracle(&questions)) {
        let Geometry {
            cylinders,
            heads,
            sectors_per_track,
        } = Geometry::of(*size);
        let ours = format!("{cylinders} {heads} {sectors_per_track}");
        assert_eq!(ours, answer, "geometry of {size} bytes");
    }
}

#[test]
fn layouts_are_the_oracles() {
    let sizes: Vec<u64> = sizes().into_iter().collect();
    let questions: Vec<String> = sizes.iter().map(|size| format!("layout {size}")).collect();
    for (&size, answer) in sizes.iter().zip(ask_oracle(&questions)) {
        let layout = Layout::fixed_vhd(size, [7; FOOTER_SIZE], Vec::new()).expect("a layout");
        let pieces = || layout.pieces(ByteRange::new(0, u64::MAX));
        let length = |origin| -> u64 {
            let alike = pieces().filter(|piece| piece.origin == origin);
            alike.map(|piece| piece.range.len()).sum()
        };
        let geometry = Geometry::of(layout.virtual_size());
        let ours = json!({
            "raw_size": length(Origin::Source),
            "virtual_size": layout.virtual_size(),
            "padding": length(Origin::Zero),
            "file_size": layout.view_size(),
            "cylinders": geometry.cylinders,
            "heads": geometry.heads,
            "sectors_per_track": geometry.sectors_per_track,
        });
        let theirs: Value = serde_json::from_str(&answer).expect("the oracle's JSON");
        assert_eq!(ours, theirs, "layout of {size} bytes");
        let ends: Vec<u64> = pieces().map(|piece| piece.range.end()).collect();
        assert!(ends.is_sorted() && ends.last() == Some(&layout.view_size()));
    }
}

#[test]
fn footers_are_the_oracles() {
    let names: [&[u8]; 6] = [
        b"disk.raw",
        b"",
        b"with space.IMG",
        "größe 磁盘.raw".as_bytes(),
        b"not utf-8 \xff\xfe\x80.dd",
        &[b'n'; 255],
    ];
    let mtimes = [
        0,
        -1,
        i64::MIN,
        i64::MAX,
        946_684_799,
        946_684_800,
        946_684_801,
        1_700_000_000,
        946_684_800 + (1 << 32) - 1,
        946_684_800 + (1 << 32),
    ];
    let sizes = [
        1,
        512,
        MIB + 1,
        20 * MIB,
        2040 * GIB,
        4095 * GIB,
        32 * TIB - 1,
    ];
    let mut rng = Rng::new(2);
    let random = (0..500).map(|_| (names[0], 1 + rng.below(TIB), rng.next() as i64 >> 20));
    let cases: Vec<(&[u8], u64, i64)> = names
        .iter()
        .flat_map(|&name| mtimes.iter().map(move |&mtime| (name, mtime)))
        .flat_map(|(name, mtime)| sizes.iter().map(move |&size| (name, size, mtime)))
        .chain(random)
        .collect();
    let questions: Vec<String> = cases
        .iter()
        .map(|(name, size, mtime)| format!("footer {} {size} {mtime}", hex(name)))
        .collect();
    for ((name, size, mtime), answer) in cases.iter().zip(ask_oracle(&questions)) {
        let identity = Identity {
            base_name: name,
            source_size: *size,
            mtime_seconds: *mtime,
        };
        let virtual_size = size.next_multiple_of(MIB);
        let footer = Footer::fixed(identity, virtual_size).encode();
        let ours = format!("{virtual_size} {}", hex(&footer));
        assert_eq!(ours, answer, "footer of {identity:?}");
    }
}

/// The judge is a copy; it must not drift from the one that the contract comes with.
#[test]
fn the_oracle_is_the_contracts() {
    let theirs = repository().join("../shared/oracle/fixed_vhd.py");
    let ours = fs::read(test_file("oracle/fixed_vhd.py")).expect("our oracle");
    match fs::read(&theirs) {
        Ok(theirs) => assert!(theirs == ours, "tests/oracle/fixed_vhd.py is out of date"),
        Err(error) => println!("no contract beside this checkout to compare with: {error}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
