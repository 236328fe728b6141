//! Programs: whether one can be started, with its interpreter and its libraries.
//!
//! Source: the manual of ld.so, and the System V ABI for its formats.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use object::Endianness;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, EM_AARCH64, EM_X86_64, FileHeader32, FileHeader64,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use crate::files::Tree;
use crate::unread::Unread;

/// Largest program or library that is read, in bytes.
const MAX_BINARY: u64 = 128 << 20;
/// Most libraries that a program may need.
const MAX_LIBRARIES: usize = 512;
/// Most scripts that lead to one another by their first lines.
const MAX_SCRIPTS: usize = 4;
/// Where libraries are looked for in the end, on Debian too.
const DEFAULT_FOLDERS: [&str; 10] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// Why a program cannot be started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// There is no such file.
    Missing(String),
    /// It is empty.
    Empty(String),
    /// It may not be executed.
    NotExecutable(String),
    /// Only root may use it.
    RootOnly(String),
    /// It is cut off or damaged.
    Damaged(String, String),
    /// The interpreter or library that another file needs is not there.
    Needs {
        /// The file.
        of: String,
        /// What it needs.
        what: String,
    },
    /// It is for another machine.
    Machine(String),
    /// It cannot be told.
    Unknown(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "there is no `{path}`"),
            Self::Empty(path) => write!(f, "`{path}` is empty"),
            Self::NotExecutable(path) => write!(f, "`{path}` may not be executed"),
            Self::RootOnly(path) => write!(f, "only root may use `{path}`"),
            Self::Damaged(path, why) => write!(f, "`{path}` is damaged: {why}"),
            Self::Needs { of, what } => write!(f, "`{of}` needs `{what}`, which is not there"),
            Self::Machine(path) => write!(f, "`{path}` is a program for another machine"),
            Self::Unknown(why) => write!(f, "{why}"),
        }
    }
}

/// What a binary says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    machine: u16,
    interpreter: Option<String>,
    needed: Vec<String>,
    folders: Vec<String>,
}

/// Who is to start a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Root,
    Anybody,
}

impl By {
    /// What forbids a file with these permissions to be executed.
    fn execution(self, path: &str, mode: u32) -> Option<Fault> {
        match self {
            _ if mode & 0o111 == 0 => Some(Fault::NotExecutable(path.to_owned())),
            Self::Anybody if mode & 0o001 == 0 => Some(Fault::RootOnly(path.to_owned())),
            Self::Root | Self::Anybody => None,
        }
    }
}

/// Judges whether root can start the program at a path.
pub(crate) fn judge_program(tree: &Tree, path: &str) -> Result<Result<(), Fault>, Unread> {
    judge_program_by(tree, path, By::Root)
}

/// Judges whether every user can start the program at a path.
pub(crate) fn judge_program_of_users(tree: &Tree, path: &str) -> Result<Result<(), Fault>, Unread> {
    judge_program_by(tree, path, By::Anybody)
}

fn judge_program_by(tree: &Tree, path: &str, by: By) -> Result<Result<(), Fault>, Unread> {
    let mut path = path.to_owned();
    for _ in 0..MAX_SCRIPTS {
        let Some((resolved, meta)) = tree.resolve(&path)? else {
            return Ok(Err(Fault::Missing(path)));
        };
        if !meta.is_file() {
            return Ok(Err(Fault::Missing(path)));
        }
        if meta.size == 0 {
            return Ok(Err(Fault::Empty(path)));
        }
        if let Some(fault) = by.execution(&path, meta.mode) {
            return Ok(Err(fault));
        }
        let head = tree.head(&resolved, 256)?.unwrap_or_default();
        if head.starts_with(b"\x7fELF") {
            return judge_binary(tree, &resolved, by);
        }
        let Some(line) = head.strip_prefix(b"#!") else {
            let why = "it is neither a program nor a script with an interpreter".to_owned();
            return Ok(Err(Fault::Damaged(path, why)));
        };
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let mut words = line.split_whitespace();
        let interpreter = words.next().unwrap_or_default();
        if interpreter.ends_with("/env") {
            let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
            match name
                .map(|name| in_search_path(tree, name))
                .transpose()?
                .flatten()
            {
                Some(found) => path = found,
                None => {
                    let what = name.unwrap_or("env").to_owned();
                    return Ok(Err(Fault::Needs { of: path, what }));
                }
            }
            continue;
        }
        if !tree.is_file(interpreter)? {
            return Ok(Err(Fault::Needs {
                of: path,
                what: interpreter.to_owned(),
            }));
        }
        path = interpreter.to_owned();
    }
    Ok(Err(Fault::Unknown(format!(
        "`{path}` is a script of a script"
    ))))
}

/// The program of a name in the usual search path.
pub(crate) fn in_search_path(tree: &Tree, name: &str) -> Result<Option<String>, Unread> {
    for folder in [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ] {
        let path = format!("{folder}/{name}");
        if tree.is_file(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn judge_binary(tree: &Tree, path: &str, by: By) -> Result<Result<(), Fault>, Unread> {
    let program = match read(tree, path)? {
        Ok(program) => program,
        Err(fault) => return Ok(Err(fault)),
    };
    if !matches!(program.machine, EM_X86_64 | EM_AARCH64) {
        return Ok(Err(Fault::Machine(path.to_owned())));
    }
    let machine = program.machine;
    if let Some(interpreter) = &program.interpreter {
        match tree.resolve(interpreter)? {
            Some((resolved, meta)) if meta.is_file() => {
                // The kernel executes it, too.
                if let Some(fault) = by.execution(&resolved, meta.mode) {
                    return Ok(Err(fault));
                }
                if let Err(fault) = read(tree, &resolved)? {
                    return Ok(Err(fault));
                }
            }
            _ => {
                return Ok(Err(Fault::Needs {
                    of: path.to_owned(),
                    what: interpreter.clone(),
                }));
            }
        }
    }
    let configured = configured_folders(tree)?;
    let mut known = BTreeSet::new();
    let mut queue: VecDeque<(String, Binary)> = VecDeque::new();
    queue.push_back((path.to_owned(), program));
    while let Some((of, binary)) = queue.pop_front() {
        for name in &binary.needed {
            if known.len() > MAX_LIBRARIES || !known.insert(name.clone()) {
                continue;
            }
            match library(tree, name, &binary.folders, &configured, machine, by)? {
                Ok((path, library)) => queue.push_back((path, library)),
                Err(Some(fault)) => return Ok(Err(fault)),
                Err(None) => {
                    return Ok(Err(Fault::Needs {
                        of,
                        what: name.clone(),
                    }));
                }
            }
        }
    }
    Ok(Ok(()))
}

/// The library of a name; where there is none, or only damaged ones, why.
fn library(
    tree: &Tree,
    name: &str,
    own: &[String],
    configured: &[String],
    machine: u16,
    by: By,
) -> Result<Result<(String, Binary), Option<Fault>>, Unread> {
    let mut fault = None;
    let defaults = DEFAULT_FOLDERS.iter().map(|folder| (*folder).to_owned());
    let folders = own.iter().chain(configured).cloned().chain(defaults);
    let candidates: Vec<String> = match name.contains('/') {
        true => vec![name.to_owned()],
        false => folders.map(|folder| format!("{folder}/{name}")).collect(),
    };
    for path in candidates {
        let Some((resolved, meta)) = tree.resolve(&path)? else {
            continue;
        };
        if !meta.is_file() {
            continue;
        }
        match read(tree, &resolved)? {
            Ok(library) if library.machine == machine => {
                if by == By::Root || meta.mode & 0o004 != 0 {
                    return Ok(Ok((resolved, library)));
                }
                fault = fault.or(Some(Fault::RootOnly(resolved)));
            }
            Ok(_) => {}
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    Ok(Err(fault))
}

/// Folders of `/etc/ld.so.conf` and the files that it includes.
fn configured_folders(tree: &Tree) -> Result<Vec<String>, Unread> {
    let mut folders = Vec::new();
    let mut texts = vec![tree.text("/etc/ld.so.conf")?.unwrap_or_default()];
    texts.extend(
        tree.texts_in("/etc/ld.so.conf.d", ".conf")?
            .into_iter()
            .map(|(_, text)| text),
    );
    for text in texts {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        folders.extend(
            lines
                .filter(|line| line.starts_with('/'))
                .map(str::to_owned),
        );
    }
    folders.truncate(64);
    Ok(folders)
}

/// Reads what a binary says of itself; the file must be there to the end of its segments.
fn read(tree: &Tree, path: &str) -> Result<Result<Binary, Fault>, Unread> {
    if let Some(known) = tree.binaries.borrow().get(path) {
        return Ok(Result::clone(known));
    }
    let found = read_anew(tree, path)?;
    let mut known = tree.binaries.borrow_mut();
    known.insert(path.to_owned(), Rc::new(found.clone()));
    Ok(found)
}

fn read_anew(tree: &Tree, path: &str) -> Result<Result<Binary, Fault>, Unread> {
    let bytes = match tree.bytes(path, MAX_BINARY) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(Unread::NotKept | Unread::FileSize { .. }) => {
            return Ok(Err(Fault::Unknown(format!("`{path}` is too large"))));
        }
        Err(error) => return Err(error),
    };
    if bytes.is_empty() {
        return Ok(Err(Fault::Empty(path.to_owned())));
    }
    let damaged = |why: &str| Fault::Damaged(path.to_owned(), why.to_owned());
    let parsed = match bytes.get(4) {
        Some(2) => parse::<FileHeader64<Endianness>>(&bytes),
        Some(1) => parse::<FileHeader32<Endianness>>(&bytes),
        _ => Err("it is no program".to_owned()),
    };
    Ok(match parsed {
        Ok(mut binary) => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for found in &mut binary.folders {
                *found = found
                    .replace("${ORIGIN}", folder)
                    .replace("$ORIGIN", folder);
            }
            Ok(binary)
        }
        Err(why) => Err(damaged(&why)),
    })
}

fn parse<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Binary, String> {
    let text = |error: object::read::Error| error.to_string();
    let header = H::parse(bytes).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    let mut binary = Binary {
        machine: header.e_machine(endian),
        interpreter: None,
        needed: Vec::new(),
        folders: Vec::new(),
    };
    let size = bytes.len() as u64;
    let sections = header.e_shoff(endian).into();
    let count = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    if sections.saturating_add(count) > size {
        return Err("it is cut off".to_owned());
    }
    let segments = header.program_headers(endian, bytes).map_err(text)?;
    if segments.is_empty() {
        return Err("it has nothing to run".to_owned());
    }
    for segment in segments {
        let (offset, length) = segment.file_range(endian);
        if segment.p_type(endian) == object::elf::PT_LOAD && offset.saturating_add(length) > size {
            return Err("it is cut off".to_owned());
        }
        if let Some(name) = segment.interpreter(endian, bytes).map_err(text)? {
            binary.interpreter = Some(String::from_utf8_lossy(name).into_owned());
        }
        if let Some(entries) = segment.dynamic(endian, bytes).map_err(text)? {
            read_dynamic::<H>(endian, entries, segments, bytes, &mut binary)?;
        }
    }
    Ok(binary)
}

/// Reads the list for the dynamic linker.
fn read_dynamic<H: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    entries: &[H::Dyn],
    segments: &[H::ProgramHeader],
    bytes: &[u8],
    binary: &mut Binary,
) -> Result<(), String> {
    let value_of = |tag: u32| {
        let entry = entries
            .iter()
            .find(|entry| entry.tag32(endian) == Some(tag))?;
        Some(entry.d_val(endian).into())
    };
    let (Some(address), Some(size)) = (
        value_of(object::elf::DT_STRTAB),
        value_of(object::elf::DT_STRSZ),
    ) else {
        return Ok(());
    };
    let table = segments.iter().find_map(|segment| {
        segment
            .data_range(endian, bytes, address, size)
            .ok()
            .flatten()
    });
    let Some(table) = table else {
        return Err("its names are not there".to_owned());
    };
    let name = |offset: u64| {
        let rest = table.get(usize::try_from(offset).ok()?..)?;
        let name = rest.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    for entry in entries.iter().take(4096) {
        let value = entry.d_val(endian).into();
        match entry.tag32(endian) {
            Some(0) => break,
            Some(DT_NEEDED) => binary
                .needed
                .extend(name(value).filter(|name| !name.is_empty())),
            Some(DT_RPATH | DT_RUNPATH) => {
                let folders = name(value).unwrap_or_default();
                binary
                    .folders
                    .extend(folders.split(':').take(32).map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(())
}
