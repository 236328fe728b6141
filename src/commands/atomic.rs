//! Files that are there complete, or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::advice;

/// Why an output cannot be written.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// The file system's own.
    #[error("{}: cannot be written: {}{} [unwritable]", .0.display(), .1, advice::on_resources(.1))]
    Write(PathBuf, #[source] io::Error),
    /// It would take the place of a source.
    #[error("{}: is the image itself; nothing is ever written to a source, so name another file [own-output]", .0.display())]
    Source(PathBuf),
}

/// A new file that gets its name when it is whole; dropped before, nothing of it is left.
#[derive(Debug)]
pub(super) struct AtomicFile {
    file: File,
    path: PathBuf,
    /// The name that it has meanwhile, if the file system has no unnamed files.
    temporary: Option<PathBuf>,
    /// Something that cannot be replaced, such as a pipe or a device: written as it is.
    in_place: bool,
}

impl AtomicFile {
    /// Begins the file that will be at `path`, in place of what is there. A pipe or a device there
    /// is written directly.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, OutputError> {
        Self::begin(path).map_err(|error| OutputError::Write(path.to_owned(), error))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        // What a link points to is replaced, not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        match path.metadata() {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                return Ok(Self {
                    file: OpenOptions::new().write(true).open(&path)?,
                    path,
                    temporary: None,
                    in_place: true,
                });
            }
            _ => {}
        }
        let folder = folder_of(&path);
        let mode = Mode::from_raw_mode(0o666);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, temporary) = match rustix::fs::open(folder, flags, mode) {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = temporary_name(&path);
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                (rustix::fs::open(&name, flags, mode)?, Some(name))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            file: file.into(),
            path,
            temporary,
            in_place: false,
        })
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Refuses to take the place of one of the files with these devices and inode numbers.
    ///
    /// # Errors
    ///
    /// If it would.
    pub(super) fn spare(&self, sources: &[(u64, u64)]) -> Result<(), OutputError> {
        let found = self.path.metadata();
        match found.is_ok_and(|found| sources.contains(&(found.dev(), found.ino()))) {
            true => Err(OutputError::Source(self.path.clone())),
            false => Ok(()),
        }
    }

    /// Gives the file its name, once it is on disk.
    ///
    /// # Errors
    ///
    /// The file system's own; nothing is left then.
    pub(super) fn commit(mut self) -> Result<(), OutputError> {
        let done = self.finish();
        done.map_err(|error| OutputError::Write(self.path.clone(), error))
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.in_place {
            return Ok(());
        }
        self.file.sync_all()?;
        if self.temporary.is_none() {
            let name = temporary_name(&self.path);
            let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, itself, CWD, &name, AtFlags::SYMLINK_FOLLOW)?;
            self.temporary = Some(name);
        }
        if let Some(name) = &self.temporary {
            std::fs::rename(name, &self.path)?;
            self.temporary = None;
        }
        // The name is to last, too.
        File::open(folder_of(&self.path))?.sync_all()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // The command fails with the reason, whatever comes of this.
            let _ = std::fs::remove_file(name);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A hidden name beside `path` that no other process takes.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(format!("vhdfs-{}-", std::process::id()));
    let mut random = [0; 8];
    // Without it the process's number still makes names different.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    name.push(format!("{:016x}", u64::from_ne_bytes(random)));
    folder_of(path).join(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "old").unwrap();
        let output = AtomicFile::create(&path).unwrap();
        output.file().write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(folder.path()), 1);
        let output = AtomicFile::create(&path).unwrap();
        output.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn a_link_keeps_pointing_and_a_source_is_spared() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("out"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("out", &link).unwrap();
        let output = AtomicFile::create(&link).unwrap();
        let meta = path.metadata().unwrap();
        let refused = output
            .spare(&[(0, 0), (meta.dev(), meta.ino())])
            .unwrap_err();
        assert!(refused.to_string().contains("the image itself"));
        assert!(output.spare(&[(meta.dev(), meta.ino() + 1)]).is_ok());
        output.file().write_all(b"new").unwrap();
        output.commit().unwrap();
        assert!(link.is_symlink() && fs::read(&path).unwrap() == b"new");
    }

    #[test]
    fn devices_are_written_as_they_are() {
        let output = AtomicFile::create(Path::new("/dev/null")).unwrap();
        output.file().write_all(b"x").unwrap();
        output.commit().unwrap();
        assert!(AtomicFile::create(Path::new("/dev")).is_err());
        assert!(AtomicFile::create(Path::new("/nowhere/at/all")).is_err());
    }
}
