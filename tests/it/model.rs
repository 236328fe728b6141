//! A real mount against a plain model of the contract, under random sequences of changes.
//!
//! The model looks at the source folder with nothing but the standard library and says what must
//! appear: names by the contract's sentences, bytes by the oracle. Between changes, views that are
//! open are read: they go on, or are stale, exactly as the model of their file says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::harness::oracle::ask_oracle;
use crate::harness::{Lab, MIB, Mount, Rng, random_bytes, tree};
use rustix::io::Errno;

/// Rounds of changes, each followed by a look at everything, and changes in a round.
const ROUNDS: usize = 10;
const CHANGES: usize = 12;

const FOLDERS: [&str; 4] = ["", "d", "d/e", "b.vhd"];
const NAMES: [&str; 12] = [
    "a.raw",
    "a.img",
    "a.RAW",
    "a.raw.raw",
    "a.vhd",
    "a.raw.vhd",
    "b.raw",
    "b.dd",
    "b",
    "c.txt",
    "l.disk",
    ".h.raw",
];
const SIZES: [u64; 7] = [0, 1, 511, 600, 5000, 70_000, MIB + 1];

const EXTENSIONS: [&str; 5] = ["raw", "img", "dd", "image", "disk"];
const QCOW2: &[u8] = b"QFI\xfb\0\0\0\x03";

/// An entry of the mount as the contract has it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Shown {
    Folder,
    /// The file with the bytes, and the name that its footer carries.
    View(PathBuf, String),
}

/// What an entry of a source folder is to the contract.
enum Entry {
    Folder(PathBuf),
    Raw(PathBuf),
    FixedVhd(PathBuf),
}

struct Model {
    folder: PathBuf,
    outside: PathBuf,
    /// The footer of an empty fixed VHD of one MiB.
    footer: Vec<u8>,
    /// How often the content of each file was changed in place.
    changes: HashMap<u64, u64>,
    done: Vec<String>,
    /// Views that were checked, and reads of open ones that went on and that were stale.
    seen: [usize; 3],
    rng: Rng,
}

/// A view that is open, and what it must give.
struct Open {
    view: PathBuf,
    file: File,
    bytes: Vec<u8>,
    inode: u64,
    changes: u64,
}

impl Model {
    fn new(seed: u64, lab: &Lab) -> Self {
        let footer = &ask_oracle(&[format!("footer {} {MIB} 0", hex(b"x"))])[0];
        let footer = footer.split(' ').nth(1).expect("a footer");
        let model = Self {
            folder: lab.folder("source"),
            outside: lab.folder("outside"),
            footer: unhex(footer),
            changes: HashMap::new(),
            done: vec![format!("seed {seed}")],
            seen: [0; 3],
            rng: Rng::new(seed),
        };
        fs::write(model.outside.join("secret.raw"), "secret").expect("a secret");
        model
    }

    /// Everything that must appear, by its path in the mount.
    fn shown(&self) -> BTreeMap<PathBuf, Shown> {
        let mut shown = BTreeMap::new();
        self.add_folder(Path::new(""), vec![self.folder.clone()], &mut shown);
        shown
    }

    /// Adds what appears in the folder at `path` of the mount; `above` are the real folders that
    /// it is in, itself last.
    fn add_folder(&self, path: &Path, above: Vec<PathBuf>, shown: &mut BTreeMap<PathBuf, Shown>) {
        let real = above.last().expect("a folder");
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(real).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            let name = name.into_string().expect("a name of this test");
            if let Some(entry) = self.entry(&real.join(&name), &name, &above) {
                entries.insert(name, entry);
            }
        }
        for (name, view) in names(&entries) {
            let path = path.join(view);
            match &entries[&name] {
                Entry::Folder(inner) => {
                    shown.insert(path.clone(), Shown::Folder);
                    let above = [&above[..], std::slice::from_ref(inner)].concat();
                    self.add_folder(&path, above, shown);
                }
                Entry::Raw(file) => {
                    shown.insert(path, Shown::View(file.clone(), name));
                }
                Entry::FixedVhd(file) => {
                    shown.insert(path, Shown::View(file.clone(), String::new()));
                }
            }
        }
    }

    /// What an entry is; nothing where it cannot appear whatever its name in the mount would be.
    fn entry(&self, path: &Path, name: &str, above: &[PathBuf]) -> Option<Entry> {
        if name.starts_with('.') {
            return None;
        }
        let target = path.canonicalize().ok()?;
        if !target.starts_with(&self.folder) {
            return None;
        }
        if target.is_dir() {
            // A folder in itself would have no end.
            return (!above.contains(&target)).then_some(Entry::Folder(target));
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        let bytes = fs::read(&target).ok()?;
        let is_image = EXTENSIONS.contains(&&*extension);
        let is_vhd = bytes.len() >= 512 && bytes[bytes.len() - 512..].starts_with(b"conectix");
        if is_vhd {
            let is_valid =
                bytes.len() as u64 == MIB + 512 && bytes[MIB as usize..] == self.footer[..];
            return (is_valid && (is_image || extension == "vhd"))
                .then_some(Entry::FixedVhd(target));
        }
        let is_raw = is_image && !bytes.is_empty() && !bytes.starts_with(QCOW2);
        is_raw.then_some(Entry::Raw(target))
    }

    /// A random change of the source folder; impossible ones change nothing.
    fn change(&mut self) {
        let kind = self.rng.below(20);
        // What changes a file needs one.
        let path = match kind {
            6..=8 | 10.. => self.pick_file().unwrap_or_else(|| self.pick()),
            _ => self.pick(),
        };
        let other = self.pick();
        let size = SIZES[self.rng.below(SIZES.len() as u64) as usize];
        let seed = self.rng.next();
        self.done
            .push(format!("{kind} {path:?} {other:?} {size} {seed:#x}"));
        let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        match kind {
            // Create, or replace by rename.
            0..=3 | 16.. => {
                let new = self.outside.join("new");
                self.write_new(&new, kind, size, seed);
                if fs::rename(&new, &path).is_err() {
                    fs::remove_file(&new).expect("remove");
                }
            }
            4 => drop(fs::create_dir_all(&path)),
            5 => {
                let target = match seed % 4 {
                    0 => self.outside.join("secret.raw"),
                    1 => PathBuf::from(NAMES[seed as usize / 4 % NAMES.len()]),
                    _ => other,
                };
                drop(symlink(target, &path));
            }
            6 if is_file => drop(fs::hard_link(&path, &other)),
            7 => drop(fs::rename(&path, &other)),
            8 => drop(fs::remove_file(&path)),
            9 if seed.is_multiple_of(4) => drop(fs::remove_dir_all(&path)),
            10 | 11 if is_file => self.change_in_place(&path, |file| {
                file.write_all_at(&random_bytes(seed, 100), seed % (size + 1))
            }),
            12 | 13 if is_file => self.change_in_place(&path, |file| file.set_len(size)),
            14 if is_file => self.change_in_place(&path, |file| {
                let time = UNIX_EPOCH + Duration::new(seed % 2_000_000_000, 7);
                file.set_times(FileTimes::new().set_modified(time))
            }),
            15 if is_file => {
                crate::harness::process::set_mode(&path, 0o600 | (seed as u32 % 0o100))
            }
            _ => {}
        }
        // Every round needs its folders.
        for folder in FOLDERS {
            let _ = fs::create_dir_all(self.folder.join(folder));
        }
    }

    /// The path of a random entry, or of one of the folders.
    fn pick(&mut self) -> PathBuf {
        let folder = FOLDERS[self.rng.below(4) as usize];
        match self.rng.below(15) {
            0 => self.folder.join("d/e"),
            1 => self.folder.join("b.vhd"),
            _ => {
                let name = NAMES[self.rng.below(NAMES.len() as u64) as usize];
                self.folder.join(folder).join(name)
            }
        }
    }

    /// The path of a random file in one of the folders.
    fn pick_file(&mut self) -> Option<PathBuf> {
        let mut files: Vec<_> = FOLDERS
            .iter()
            .filter_map(|folder| fs::read_dir(self.folder.join(folder)).ok())
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()))
            .collect();
        // The order in a folder is no part of the seed.
        files.sort();
        let number = self.rng.below(files.len().max(1) as u64);
        (!files.is_empty()).then(|| files.swap_remove(number as usize))
    }

    fn write_new(&self, path: &Path, kind: u64, size: u64, seed: u64) {
        let file = File::create(path).expect("a new file");
        match kind {
            0 => {
                file.set_len(MIB).expect("a body");
                file.write_all_at(&self.footer, MIB).expect("a footer");
            }
            1 => file.write_all_at(QCOW2, 0).expect("a container"),
            _ => {
                let bytes = random_bytes(seed, size as usize);
                file.write_all_at(&bytes, 0).expect("an image");
            }
        }
    }

    fn change_in_place(&mut self, path: &Path, change: impl FnOnce(&File) -> std::io::Result<()>) {
        let file = OpenOptions::new().write(true).open(path).expect("a file");
        change(&file).expect("a change");
        let inode = file.metadata().expect("a file").ino();
        *self.changes.entry(inode).or_default() += 1;
    }

    fn changes_of(&self, inode: u64) -> u64 {
        self.changes.get(&inode).copied().unwrap_or_default()
    }

    /// Panics where the mount does not show exactly what it must, and answers the bytes of views.
    fn check_all(&self, mount: &Mount) -> BTreeMap<PathBuf, Vec<u8>> {
        let shown = self.shown();
        let names: BTreeSet<_> = shown.keys().cloned().collect();
        assert_eq!(tree(mount.path()), names, "names");
        let views: Vec<_> = shown
            .iter()
            .filter_map(|(path, shown)| match shown {
                Shown::View(file, name) => Some((path, file, name)),
                Shown::Folder => None,
            })
            .collect();
        let questions: Vec<_> = views
            .iter()
            .map(|(_, file, name)| {
                let meta = file.metadata().expect("a source");
                format!(
                    "footer {} {} {}",
                    hex(name.as_bytes()),
                    meta.len(),
                    meta.mtime()
                )
            })
            .collect();
        // The oracle wants a question.
        let answers = match questions.is_empty() {
            true => Vec::new(),
            false => ask_oracle(&questions),
        };
        let checked = views
            .iter()
            .zip(answers)
            .map(|((path, file, name), answer)| {
                let mut bytes = fs::read(file).expect("a source");
                if !name.is_empty() {
                    let (size, footer) = answer.split_once(' ').expect("an answer");
                    bytes.resize(size.parse().expect("a size"), 0);
                    bytes.extend(unhex(footer));
                }
                let view = mount.join(path);
                let (meta, source) = (
                    view.metadata().expect("a view"),
                    file.metadata().expect("a source"),
                );
                assert_eq!(meta.len(), bytes.len() as u64, "size of {}", path.display());
                assert_eq!(
                    (meta.mtime(), meta.mtime_nsec(), meta.mode() & 0o777),
                    (source.mtime(), source.mtime_nsec(), source.mode() & 0o555),
                    "{}",
                    path.display()
                );
                let read = fs::read(&view).expect("a view");
                assert!(read == bytes, "bytes of {}", path.display());
                (path.to_path_buf(), bytes)
            });
        checked.collect()
    }

    /// Opens some of the views that were just checked.
    fn open_some(&mut self, mount: &Mount, views: BTreeMap<PathBuf, Vec<u8>>) -> Vec<Open> {
        let shown = self.shown();
        let mut open = Vec::new();
        for (view, bytes) in views {
            if self.rng.below(3) == 0 {
                continue;
            }
            let Shown::View(source, _) = &shown[&view] else {
                panic!("{} is a folder", view.display());
            };
            let inode = source.metadata().expect("a source").ino();
            // Past the kernel's cache, which may have the old version for longer.
            let mut options = OpenOptions::new();
            let file = options.read(true).custom_flags(libc::O_DIRECT);
            open.push(Open {
                file: file.open(mount.join(&view)).expect("a view"),
                changes: self.changes_of(inode),
                view,
                bytes,
                inode,
            });
        }
        open
    }

    fn check_open(&mut self, open: &Open) {
        let offset = self.rng.below(open.bytes.len() as u64) as usize;
        let length = (self.rng.below(70_000) as usize + 1).min(open.bytes.len() - offset);
        let mut read = vec![0; length];
        let result = open.file.read_exact_at(&mut read, offset as u64);
        let what = format!("{length} bytes at {offset} of {}", open.view.display());
        if self.changes_of(open.inode) == open.changes {
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(read == open.bytes[offset..offset + length], "{what}");
            self.seen[1] += 1;
        } else {
            let error = result.expect_err(&what);
            assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE), "{what}");
            self.seen[2] += 1;
        }
    }
}

/// Prints how to have a failure again.
impl Drop for Model {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.done.join("\n"));
        }
    }
}

/// The name under which each entry of a folder appears, by the contract's sentences on names.
fn names(entries: &BTreeMap<String, Entry>) -> Vec<(String, String)> {
    let lower = |name: &str| name.to_ascii_lowercase();
    let is_own = |name: &str| match &entries[name] {
        Entry::Folder(_) => true,
        Entry::FixedVhd(_) => lower(name).ends_with(".vhd"),
        Entry::Raw(_) => false,
    };
    let full = |name: &str| format!("{name}.vhd");
    let short = |name: &str| match name.rsplit_once('.') {
        Some((stem, extension)) if EXTENSIONS.contains(&&*lower(extension)) => full(stem),
        _ => full(name),
    };
    let (own, made): (Vec<_>, Vec<_>) = entries.keys().partition(|name| is_own(name));
    let mut displaced = BTreeSet::new();
    loop {
        let taken = |name: &str| {
            let view = short(name);
            own.iter().any(|other| **other == view)
                || made.iter().any(|other| {
                    *other != name
                        && (short(other) == view
                            || displaced.contains(*other) && full(other) == view)
                })
        };
        let more: BTreeSet<&String> = made.iter().copied().filter(|name| taken(name)).collect();
        if more == displaced {
            break;
        }
        displaced = more;
    }
    let made = made.iter().filter_map(|name| {
        let view = match displaced.contains(*name) {
            // No other name is left for it.
            true if full(name) == short(name) || own.contains(&&full(name)) => return None,
            true => full(name),
            false => short(name),
        };
        Some(((*name).clone(), view))
    });
    let own = own.iter().map(|name| ((*name).clone(), (*name).clone()));
    made.chain(own).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn run_model(seed: u64) {
    let lab = Lab::new();
    let mut model = Model::new(seed, &lab);
    let mount = Mount::with(&model.folder, &["--snapshot", "never"]);
    mount.allow_log("changed while it was open");
    mount.allow_log("does not appear: damaged: the header");
    let mut open = Vec::new();
    for _ in 0..3 * CHANGES {
        model.change();
    }
    for _ in 0..ROUNDS {
        for _ in 0..CHANGES {
            model.change();
            for view in &open {
                model.check_open(view);
            }
        }
        open.clear();
        thread::sleep(Duration::from_secs(1));
        let views = model.check_all(&mount);
        model.seen[0] += views.len();
        open = model.open_some(&mount, views);
    }
    drop(open);
    mount.unmount();
    let seen = model.seen;
    assert!(
        seen.iter().all(|&count| count > 10),
        "hardly tested: {seen:?}"
    );
}

// One test a seed, so that they run at once.

#[test]
fn the_mount_agrees_with_the_model_1() {
    run_model(0x5eed_0001);
}

#[test]
fn the_mount_agrees_with_the_model_2() {
    run_model(0x5eed_0002);
}

#[test]
fn the_mount_agrees_with_the_model_3() {
    run_model(0x5eed_0003);
}

#[test]
fn the_mount_agrees_with_the_model_4() {
    run_model(0x5eed_0004);
}
