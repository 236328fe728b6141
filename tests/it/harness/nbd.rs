//! Sources that fail: a file whose every read runs a script, through nbdkit and nbdfuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::mount::{is_mount, wait_until};
use super::process::{run, tool};

/// A folder with one file, which a process serves; gone with the value.
#[derive(Debug)]
pub(crate) struct Nbd {
    folder: PathBuf,
    server: Child,
}

impl Nbd {
    /// Serves `content` as `folder/name`. For every read of it the shell runs `script` first, with
    /// the number of bytes in `$3` and the offset in `$4`; what it prints to standard error after
    /// `EIO ` or the like is the read's error where it fails.
    pub(crate) fn scripted(folder: &Path, name: &str, content: &Path, script: &str) -> Self {
        let content = content.display();
        Self::start(
            folder,
            name,
            &[
                "eval".into(),
                format!("get_size=stat -c %s {content}"),
                "can_write=exit 3".into(),
                // Requests that hang must not keep others from being served.
                "thread_model=echo parallel".into(),
                format!(
                    "pread={script}\ndd if={content} iflag=skip_bytes,count_bytes skip=$4 count=$3 bs=1M status=none"
                ),
            ],
        )
    }

    /// Serves `content` as `folder/name`. While the file `trigger` exists, every read fails.
    pub(crate) fn failing(folder: &Path, name: &str, content: &Path, trigger: &Path) -> Self {
        Self::start(
            folder,
            name,
            &[
                "--filter=error".into(),
                "file".into(),
                content.display().to_string(),
                "error-pread=EIO".into(),
                "error-pread-rate=100%".into(),
                format!("error-pread-file={}", trigger.display()),
            ],
        )
    }

    fn start(folder: &Path, name: &str, arguments: &[String]) -> Self {
        let server = Command::new(tool("nbdfuse"))
            .arg("--readonly")
            .arg(folder.join(name))
            .arg("--command")
            .arg(tool("nbdkit"))
            .args(["-s", "--exit-with-parent"])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .expect("start nbdfuse");
        let nbd = Self {
            folder: folder.to_path_buf(),
            server,
        };
        wait_until("nbdfuse", || is_mount(folder)).expect("a source");
        // Else a read that was right once is never asked for again.
        fs::metadata(folder.join(name)).expect("the file of nbdfuse");
        nbd
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        let _ = run(Command::new(tool("umount")).arg("-l").arg(&self.folder));
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
