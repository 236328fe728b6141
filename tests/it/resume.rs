//! `examples/upload.py`: an upload of ranges that goes on from where it was killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::azurite::Container;
use crate::harness::mount::wait_until;
use crate::harness::process::{python, repository, test_file};
use crate::harness::{Azurite, Lab, MIB, Mount, Rng, run, run_ok, set_mtime, sparse_image, vhdfs};

/// Small blocks, so that there are many of them.
const BLOCK: u64 = 64 << 10;
const WORKERS: u64 = 4;

/// What stands between the script and the service; gone with the value.
struct Proxy {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Proxy {
    fn new(lab: &Lab, container: &Container, every: u32) -> Self {
        let log = lab.path().join("puts");
        let url = container
            .url
            .split("/devstoreaccount1")
            .next()
            .expect("an address");
        let mut child = python()
            .arg(test_file("azure/proxy.py"))
            .args([url, log.to_str().expect("text"), &every.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the proxy");
        let mut address = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout)
            .read_line(&mut address)
            .expect("its address");
        let address = address.trim().to_owned();
        Self {
            child,
            address,
            log,
        }
    }

    /// The address of a blob behind it, shared access signature included.
    fn url(&self, container: &Container, blob: &str) -> String {
        let (_, path) = container
            .url
            .split_once("/devstoreaccount1")
            .expect("an account");
        let (path, signature) = path.split_once('?').expect("a signature");
        format!("{}/devstoreaccount1{path}/{blob}?{signature}", self.address)
    }

    /// How often each page was put, by its block.
    fn puts(&self) -> BTreeMap<u64, u64> {
        let text = fs::read_to_string(&self.log).expect("the log");
        let mut puts = BTreeMap::new();
        for line in text.lines() {
            let offset: u64 = line
                .split(' ')
                .next()
                .expect("an offset")
                .parse()
                .expect("a number");
            *puts.entry(offset / BLOCK).or_default() += 1;
        }
        puts
    }

    fn count(&self) -> u64 {
        self.puts().values().sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Fixture {
    lab: Lab,
    container: Container,
    image: PathBuf,
    manifest: PathBuf,
}

impl Fixture {
    /// An image with `blocks` blocks of data, in pairs with a hole between, and its manifest.
    fn new(blocks: u64, options: &[&str]) -> Self {
        let lab = Lab::new();
        let container = Azurite::start().container("vhds");
        let image = lab.folder("images").join("disk.raw");
        let data: Vec<_> = (0..blocks / 2)
            .map(|pair| (pair * 5 * BLOCK, 2 * BLOCK as usize))
            .collect();
        sparse_image(&image, 1, blocks * 3 * BLOCK, &data);
        set_mtime(&image, 1_700_000_000, 0);
        let manifest = lab.path().join("manifest.json");
        let mut command = vhdfs();
        command
            .args(["manifest", "--output"])
            .arg(&manifest)
            .args(options)
            .arg(&image);
        run_ok(&mut command);
        Self {
            lab,
            container,
            image,
            manifest,
        }
    }

    fn script(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = python();
        command
            .arg("-B")
            .arg(repository().join("examples/upload.py"))
            .arg("--vhdfs")
            .arg(vhdfs().get_program())
            .arg("--state")
            .arg(self.lab.path().join("state"))
            .args([&format!("--workers={WORKERS}"), &format!("--block={BLOCK}")])
            .args(arguments)
            .arg(&self.image)
            .arg(url)
            .stdin(Stdio::null());
        command
    }

    /// Panics where the blob in the container is not what the manifest says.
    #[track_caller]
    fn assert_right(&self) {
        let folder = self.lab.folder("downloaded");
        self.container.download(&folder);
        let mut command = vhdfs();
        command
            .arg("verify")
            .args([&self.manifest, &folder.join("disk.vhd")]);
        run_ok(&mut command);
    }
}

#[track_caller]
fn assert_said(output: &Output, success: bool, said: &str) {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), success, "{text}");
    assert!(text.contains(said), "{said:?} in {text}");
}

/// Killed twenty times at moments that nobody chose, it ends with the right blob, and has sent no
/// more than one block for each worker and kill twice.
#[test]
fn a_killed_upload_goes_on_and_sends_no_more_than_a_block_per_worker_twice() {
    let fixture = Fixture::new(120, &[]);
    let proxy = Proxy::new(&fixture.lab, &fixture.container, 0);
    let url = proxy.url(&fixture.container, "disk.vhd");
    let mut rng = Rng::new(16);
    let mut before = 0;
    for _ in 0..20 {
        let child = fixture.script(&url, &[]).stdout(Stdio::null()).spawn();
        let mut child = child.expect("the script");
        // Somewhere in its way: it has put so many blocks, or has ended.
        let wanted = before + rng.below(6);
        let reached = wait_until("puts", || {
            proxy.log.exists() && proxy.count() >= wanted || child.try_wait().expect("it").is_some()
        });
        reached.expect("the upload goes on");
        let _ = child.kill();
        child.wait().expect("its end");
        before = if proxy.log.exists() { proxy.count() } else { 0 };
    }
    let mut command = fixture.script(
        &url,
        &["--manifest", fixture.manifest.to_str().expect("text")],
    );
    assert_said(&run(&mut command), true, "verified");
    fixture.assert_right();
    let puts = proxy.puts();
    let again: u64 = puts.values().map(|count| count - 1).sum();
    assert!(again <= 20 * WORKERS, "{again} blocks were sent again");
    // All blocks with data, and the footer's.
    assert_eq!(puts.len(), 121);
    assert!(!fixture.lab.path().join("state").exists());
}

#[test]
fn a_view_on_a_mount_is_uploaded_through_errors_of_the_service() {
    let options = ["--min-size=64M"];
    let fixture = Fixture::new(40, &options);
    let proxy = Proxy::new(&fixture.lab, &fixture.container, 7);
    let url = proxy.url(&fixture.container, "disk.vhd");
    let mount = Mount::with(fixture.image.parent().expect("a folder"), &options);
    let view = mount.join("disk.vhd");
    let view = view.to_str().expect("text");
    let manifest = fixture.manifest.to_str().expect("text");
    let arguments = [
        "--option=--min-size=64M",
        "--view",
        view,
        "--manifest",
        manifest,
    ];
    assert_said(
        &run(&mut fixture.script(&url, &arguments)),
        true,
        "verified",
    );
    fixture.assert_right();
    let blobs = fixture.container.blobs();
    assert_eq!((blobs.len(), blobs[0].size), (1, 64 * MIB + 512));
    // Without the option it is another disk.
    let output = run(&mut fixture.script(&url, &["--view", view]));
    assert_said(&output, false, "is not the view of that image");
    mount.unmount();
}

#[test]
fn what_changed_or_is_in_use_is_not_mixed() {
    let fixture = Fixture::new(10, &[]);
    let url = fixture.container.blob_url("disk.vhd");
    let state = fixture.lab.path().join("state");
    // Another version of the image has been uploaded in part.
    let other = r#"{"blob": "elsewhere", "unique_id": "x", "size": 1, "block": 65536}"#;
    fs::write(&state, format!("{other}\n")).expect("a state");
    let output = run(&mut fixture.script(&url, &[]));
    assert_said(&output, false, "another version of the image");
    // A line that was cut off counts for nothing.
    fs::write(&state, &other[..20]).expect("a state");
    let file = File::open(&state).expect("the state");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let output = run(&mut fixture.script(&url, &[]));
    assert_said(&output, false, "another upload is using it");
    drop(file);
    assert_said(&run(&mut fixture.script(&url, &[])), true, "verified");
    fixture.assert_right();
    let manifest: &Path = &fixture.lab.path().join("other.json");
    fs::write(manifest, r#"{"views": []}"#).expect("a manifest");
    let arguments = ["--manifest", manifest.to_str().expect("text")];
    let output = run(&mut fixture.script(&url, &arguments));
    assert_said(&output, false, "has no sums of this version");
}

/// Each host computes its own share, and all of them together are everything.
#[test]
fn shares_of_a_folder_are_uploaded_by_hosts_that_know_nothing_of_each_other() {
    let lab = Lab::new();
    let source = lab.folder("source");
    let names = ["a.raw", "b c.img", "sub/d.dd", "sub/e?.raw", "f.raw"];
    for (number, name) in names.into_iter().enumerate() {
        let data = [(0, (number + 1) << 16)];
        sparse_image(&source.join(name), number as u64, MIB + 5, &data);
    }
    let container = Azurite::start().container("vhds");
    let program = PathBuf::from(vhdfs().get_program());
    let mut path = program.parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let upload = |index: &str| {
        let mut command = Command::new(repository().join("examples/upload_share.sh"));
        command
            .args([index, "2"])
            .arg(&source)
            .arg(&container.url)
            .arg(lab.folder("state"))
            .arg("--min-size=2M")
            .env("PATH", &path)
            .env("PYTHON", python().get_program());
        run_ok(&mut command);
        container.blobs().len()
    };
    assert_eq!((upload("0"), upload("1")), (3, 5));
    let folder = lab.folder("downloaded");
    container.download(&folder);
    let manifest = lab.path().join("manifest.json");
    let mut command = vhdfs();
    command
        .args(["manifest", "--min-size=2M", "--output"])
        .args([&manifest, &source]);
    run_ok(&mut command);
    for view in ["a.vhd", "b c.vhd", "sub/d.vhd", "sub/e?.vhd", "f.vhd"] {
        run_ok(vhdfs().arg("verify").args([&manifest, &folder.join(view)]));
    }
}
