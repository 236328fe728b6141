//! Azurite, the emulated Azure blob service, on a free port of loopback.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::{Lab, python, run_ok, stdout_of, test_file, tool};

/// A running service with nothing in it; gone with the value.
pub(crate) struct Azurite {
    child: Child,
    /// Open for as long as the service may write to it.
    _stdout: BufReader<ChildStdout>,
    url: String,
    lab: Lab,
}

impl Azurite {
    pub(crate) fn start() -> Rc<Self> {
        let lab = Lab::new();
        let errors = lab.path().join("errors");
        let mut child = Command::new(tool("azurite-blob"))
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--silent"])
            // Newer clients speak newer versions of the protocol than it knows.
            .args(["--skipApiVersionCheck", "--disableTelemetry", "--location"])
            .arg(lab.folder("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).expect("a log"))
            .spawn()
            .expect("start azurite-blob");
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut said = String::new();
        let address = loop {
            let start = said.len();
            let length = stdout.read_line(&mut said).expect("read what Azurite says");
            if length == 0 {
                let errors = std::fs::read_to_string(&errors).unwrap_or_default();
                panic!("Azurite ended: {said}{errors}");
            }
            if let Some((_, address)) = said[start..].split_once("listens on ") {
                break address.trim().to_string();
            }
        };
        Rc::new(Self {
            child,
            _stdout: stdout,
            // The account that it always has.
            url: format!("{address}/devstoreaccount1"),
            lab,
        })
    }

    /// Makes a container; everything may be done to it under the address that this returns.
    pub(crate) fn container(self: &Rc<Self>, name: &str) -> Container {
        let url = stdout_of(blob_tool("container").args([&self.url, name]));
        Container {
            service: Rc::clone(self),
            url: url.trim().to_string(),
        }
    }

    /// A folder for a client's logs and plans.
    pub(crate) fn scratch(&self) -> &Path {
        self.lab.path()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A container of the emulated service.
pub(crate) struct Container {
    service: Rc<Azurite>,
    /// Its address, shared access signature included.
    pub(crate) url: String,
}

/// A blob as the service describes it.
#[derive(Debug, PartialEq)]
pub(crate) struct Blob {
    pub(crate) name: String,
    /// `PageBlob` or `BlockBlob`.
    pub(crate) kind: String,
    pub(crate) size: u64,
    /// Half-open ranges that hold pages, neighbours joined; empty for block blobs.
    pub(crate) pages: Vec<(u64, u64)>,
}

/// How a run of azcopy ended, as it counts.
#[derive(Debug, PartialEq)]
pub(crate) struct Transfers {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) bytes_sent: u64,
}

impl Container {
    /// All blobs, by name.
    pub(crate) fn blobs(&self) -> Vec<Blob> {
        let text = stdout_of(blob_tool("list").arg(&self.url));
        let blobs: Value = serde_json::from_str(&text).expect("JSON");
        let number = |value: &Value| value.as_u64().expect("a number");
        blobs
            .as_array()
            .expect("a list")
            .iter()
            .map(|blob| Blob {
                name: blob["name"].as_str().expect("a name").to_string(),
                kind: blob["kind"].as_str().expect("a kind").to_string(),
                size: number(&blob["size"]),
                pages: blob["pages"]
                    .as_array()
                    .expect("ranges")
                    .iter()
                    .map(|range| (number(&range[0]), number(&range[1])))
                    .collect(),
            })
            .collect()
    }

    /// The address of a blob in it, shared access signature included.
    pub(crate) fn blob_url(&self, name: &str) -> String {
        let (path, signature) = self.url.split_once('?').expect("a signature");
        format!("{path}/{name}?{signature}")
    }

    /// Downloads every blob into a folder, with the Python SDK.
    pub(crate) fn download(&self, folder: &Path) {
        run_ok(blob_tool("download").arg(&self.url).arg(folder));
    }

    /// Uploads one file as a page blob, with the Python SDK.
    pub(crate) fn upload(&self, file: &Path, name: &str) {
        run_ok(blob_tool("upload").arg(&self.url).arg(file).arg(name));
    }

    /// Uploads what lies in a folder as page blobs, with azcopy.
    pub(crate) fn azcopy(&self, folder: &Path, options: &[&str]) -> Transfers {
        let scratch = self.service.scratch();
        let mut command = Command::new(tool("azcopy"));
        command
            .arg("copy")
            .arg(folder.join("*"))
            .arg(&self.url)
            .args(["--recursive", "--from-to", "LocalBlob"])
            .args(["--blob-type", "PageBlob", "--output-type", "json"])
            .arg("--skip-version-check")
            .args(options)
            .env("HOME", scratch)
            .env("AZCOPY_LOG_LOCATION", scratch.join("azcopy"))
            .env("AZCOPY_JOB_PLAN_LOCATION", scratch.join("azcopy"))
            .env("AZCOPY_DISABLE_SYSLOG", "true")
            // Else it spends seconds on finding out.
            .env("AZCOPY_CONCURRENCY_VALUE", "8");
        let text = stdout_of(&mut command);
        summary(&text).unwrap_or_else(|| panic!("azcopy gave no summary:\n{text}"))
    }

    /// Uploads what lies in a folder as block blobs, with rclone.
    pub(crate) fn rclone(&self, folder: &Path) {
        let name = self.url.split(['/', '?']).nth(4).expect("a container");
        let scratch = self.service.scratch();
        run_ok(
            Command::new(tool("rclone"))
                .arg("copy")
                .arg(folder)
                .arg(format!(":azureblob:{name}"))
                .args(["--config", "/dev/null", "--cache-dir"])
                .arg(scratch.join("rclone"))
                .env("RCLONE_AZUREBLOB_SAS_URL", &self.url)
                .env("HOME", scratch),
        );
    }
}

fn blob_tool(subcommand: &str) -> Command {
    let mut command = python();
    command
        .arg("-B")
        .arg(test_file("azure/blob.py"))
        .arg(subcommand);
    command
}

/// The counts in the last message of azcopy's JSON output, one message a line.
fn summary(text: &str) -> Option<Transfers> {
    let message = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["MessageType"] == "EndOfJob")?;
    let content: Value = serde_json::from_str(message["MessageContent"].as_str()?).ok()?;
    let count = |key: &str| content[key].as_str()?.parse().ok();
    Some(Transfers {
        completed: count("TransfersCompleted")?,
        failed: count("TransfersFailed")?,
        skipped: count("TransfersSkipped")?,
        bytes_sent: count("BytesOverWire")?,
    })
}
