//! What all formats have in common: opening a file as an image, and reading all over its disk.

use std::sync::{Arc, OnceLock};

use disk::cache::Caches;
use disk::format::{Container, File, Given, Opening, Options, Step};
use disk::{ByteRange, Disk};

/// How many pieces of a disk are read, holes looked for, and runs listed.
const LOOKS: usize = 16;

/// Opens an image and reads all over its disk. Every further file that it names is `other`.
pub fn read(name: &str, image: File, other: File) {
    static CACHES: OnceLock<Arc<Caches>> = OnceLock::new();
    let caches = CACHES.get_or_init(|| Caches::new(1 << 20, 0));
    for disk in 0..2 {
        let options = Options {
            chains: true,
            compressed: true,
            disk,
        };
        let image = given(name, 0, &image);
        let mut opening = Opening::new(image, options, Arc::clone(caches));
        for _ in 0..20 {
            match opening.step() {
                Ok(Step::Ready(disk)) => {
                    look(&disk);
                    break;
                }
                Ok(Step::Needs(needs)) => {
                    let further = needs.iter().map(|_| given("other", 1, &other));
                    if opening.give(further.collect()).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    break;
                }
            }
        }
    }
}

fn given(name: &str, identity: u64, bytes: &File) -> Given {
    Given {
        name: name.to_owned(),
        identity: (0, identity),
        bytes: Arc::clone(bytes),
    }
}

fn look(disk: &Container) {
    let size = disk.size();
    let mut buffer = [0; 4096];
    let mut read = |at: u64| {
        let count = size.saturating_sub(at).min(buffer.len() as u64) as usize;
        let _ = disk.read_exact_at(&mut buffer[..count], at);
    };
    for number in 0..LOOKS as u64 {
        read(number * 4096);
        read(size.saturating_sub((number + 1) * 4096));
        read(size / LOOKS as u64 * number);
    }
    let mut at = 0;
    for _ in 0..LOOKS {
        let Ok(Some(data)) = disk.next_data(at) else {
            break;
        };
        assert!(data.start() >= at && data.end() <= size && !data.is_empty());
        at = data.end();
        read(data.start());
    }
    for run in disk.runs(ByteRange::new(0, size)).take(LOOKS) {
        assert!(run.is_err() || run.is_ok_and(|run| !run.range.is_empty()));
    }
}
