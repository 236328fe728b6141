//! Reads of a view with patches and holes equal a plain copy of its bytes, to the last one.
#![no_main]

use std::io;

use libfuzzer_sys::{arbitrary, fuzz_target};
use disk::Disk;
use vhd::footer::FOOTER_SIZE;
use disk::Patch;
use vhd::layout::{ALIGNMENT, Layout};
use disk::ByteRange;
use vhd::view::View;

const FOOTER: [u8; FOOTER_SIZE] = [0xf0; FOOTER_SIZE];

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    /// Fill and length of each run; a fill of 0 is a hole.
    runs: Vec<(u8, u16)>,
    patches: Vec<(u32, u8, u16)>,
    reads: Vec<(u32, u32)>,
    huge: u64,
}

struct Runs {
    bytes: Vec<u8>,
    data: Vec<ByteRange>,
}

impl Disk for Runs {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.as_slice().read_exact_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<ByteRange>> {
        let rest = ByteRange::new(offset, u64::MAX);
        let found = self.data.iter().map(|run| run.intersect(rest));
        Ok(found.into_iter().find(|run| !run.is_empty()))
    }
}

fuzz_target!(|input: Input| {
    // Sizes that no file has are judged without a panic.
    let _ = Layout::fixed_vhd(input.huge, FOOTER, vec![]);
    let _ = Layout::verbatim(input.huge);
    let mut disk = Runs {
        bytes: Vec::new(),
        data: Vec::new(),
    };
    for &(fill, length) in input.runs.iter().take(64) {
        let start = disk.size();
        disk.bytes.resize(disk.bytes.len() + usize::from(length), fill);
        if fill != 0 {
            disk.data.push(ByteRange::new(start, disk.size()));
        }
    }
    let patches = input.patches.iter().take(16).map(|&(offset, fill, length)| Patch {
        offset: offset.into(),
        bytes: vec![fill; length.into()],
    });
    let patches: Vec<Patch> = patches.collect();
    let mut want = disk.bytes.clone();
    want.resize(want.len().next_multiple_of(ALIGNMENT as usize), 0);
    let Ok(layout) = Layout::fixed_vhd(disk.size(), FOOTER, patches.clone()) else {
        return;
    };
    for patch in &patches {
        let at = patch.offset as usize;
        want[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    want.extend(FOOTER);
    let view = View::new(layout, disk);
    assert_eq!(view.size(), want.len() as u64);
    for &(offset, length) in input.reads.iter().take(32) {
        let (offset, length) = (offset as usize % (4 * want.len()), length as usize % (2 << 20));
        let mut got = vec![0xaa; length];
        let result = view.read_exact_at(&mut got, offset as u64);
        match want.get(offset..offset + length) {
            Some(want) => assert!(result.is_ok() && got == want, "{offset} {length}"),
            None => assert!(result.is_err(), "{offset} {length}"),
        }
        let data = view.seek_data(offset as u64).expect("no error");
        let hole = view.seek_hole(offset as u64).expect("no error");
        assert_eq!(hole.is_some(), offset < want.len());
        assert!(data.is_none_or(|data| data >= offset as u64 && data < view.size()));
        // What is skipped is zero.
        let skipped = offset.min(want.len())..data.map_or(want.len(), |data| data as usize);
        assert!(skipped.start >= skipped.end || want[skipped].iter().all(|&byte| byte == 0));
    }
});
