//! What the tests of all formats share.

use std::sync::Arc;

use super::{Container, FormatError, Given, Need, Opening, Options, Step};
use crate::cache::Caches;
use crate::{ByteRange, Disk};

/// Everything allowed.
pub(crate) const ALL: Options = Options {
    chains: true,
    compressed: true,
    disk: 0,
};

/// Threads that decompress ahead; none under Miri, which does not know how parking_lot waits.
pub(crate) const DECODERS: usize = if cfg!(miri) { 0 } else { 2 };

/// A folder of files, by name.
pub(crate) type Folder<'a> = &'a [(&'a str, Vec<u8>)];

/// Opens the first file of `folder`; the others are there if it needs them.
pub(crate) fn open(folder: Folder<'_>, options: Options) -> Result<Container, FormatError> {
    open_with(folder, options, Caches::new(1 << 20, DECODERS))
}

/// Opens the first file of `folder` with these caches.
pub(crate) fn open_with(
    folder: Folder<'_>,
    options: Options,
    caches: Arc<Caches>,
) -> Result<Container, FormatError> {
    let given = |number: usize| Given {
        name: folder[number].0.to_owned(),
        identity: (0, number as u64),
        bytes: Arc::new(folder[number].1.clone()),
    };
    let find = |need: &Need| {
        let name = need.name.to_str().unwrap();
        let number = folder.iter().position(|(known, _)| *known == name);
        given(number.unwrap_or_else(|| panic!("no file {name}")))
    };
    let mut opening = Opening::new(given(0), options, caches);
    loop {
        match opening.step()? {
            Step::Ready(disk) => return Ok(disk),
            Step::Needs(needs) => opening.give(needs.iter().map(find).collect())?,
        }
    }
}

/// Opens one image with everything allowed.
pub(crate) fn open_one(name: &str, bytes: Vec<u8>) -> Result<Container, FormatError> {
    open(&[(name, bytes)], ALL)
}

/// The text of the refusal of an image.
pub(crate) fn refusal(name: &str, bytes: Vec<u8>) -> String {
    match open_one(name, bytes) {
        Ok(disk) => panic!("opened: {disk:?}"),
        Err(error) => error.to_string(),
    }
}

/// All bytes of a disk.
pub(crate) fn read_all(disk: &Container) -> Vec<u8> {
    let mut bytes = vec![0xa5; disk.size() as usize];
    disk.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Checks that runs and data of a disk are what its bytes `want` say.
pub(crate) fn check_runs(disk: &Container, want: &[u8]) {
    let whole = ByteRange::new(0, disk.size());
    let mut at = 0;
    for run in disk.runs(whole) {
        let run = run.unwrap();
        assert_eq!(run.range.start(), at);
        at = run.range.end();
        assert!(at > run.range.start());
        if run.origin == super::Origin::Zeros {
            let bytes = &want[run.range.start() as usize..at as usize];
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
    assert_eq!(at, disk.size());
    let mut at = 0;
    while let Some(data) = disk.next_data(at).unwrap() {
        assert!(data.start() >= at && !data.is_empty() && data.end() <= disk.size());
        let hole = &want[at as usize..data.start() as usize];
        assert!(hole.iter().all(|byte| *byte == 0));
        at = data.end();
    }
    assert!(want[at as usize..].iter().all(|byte| *byte == 0));
}
