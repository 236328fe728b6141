//! A folder of 100,000 images: complete, looked at once, and in bounded memory.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::harness::machine::keep_caches;
use crate::harness::{
    Lab, MIB, MemoryFs, Mount, Options, errno_of, eventually, lines_with, oracle_verify,
    random_image, stdout_of, tool,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

const IMAGES: usize = 100_000;

/// Number of a process's status or counters, in its own unit.
pub(crate) fn number_of(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.trim_start_matches(':').split_whitespace().next());
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

fn ls(options: &str, folder: &Path) -> Vec<String> {
    let text = stdout_of(Command::new(tool("ls")).arg(options).arg(folder));
    text.lines().map(String::from).collect()
}

fn make_images(folder: &Path) {
    thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || {
                for number in (part..IMAGES).step_by(2) {
                    fs::write(folder.join(format!("{number:06}.raw")), "disk").expect("an image");
                }
            });
        }
    });
}

/// Gives all images another time, so that each is another version.
fn touch_images(folder: &Path) {
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    for number in 0..IMAGES {
        File::open(folder.join(format!("{number:06}.raw")))
            .and_then(|file| file.set_times(times))
            .expect("touch");
    }
}

#[test]
fn a_hundred_thousand_images_are_listed_whole_in_bounded_memory() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    // A disk would take a minute to make and remove them all.
    let _memory = MemoryFs::on(&folder);
    // An inode that the kernel forgets is looked at again.
    let _caches = keep_caches();
    make_images(&folder);
    let mount = Mount::new(&folder);
    let pid = mount.pids()[0];

    let names: BTreeSet<_> = ls("-f", mount.path()).into_iter().collect();
    assert_eq!(names.len(), IMAGES + 2, "with . and ..");
    assert!(names.contains("000000.vhd") && names.contains("099999.vhd"));
    let long = ls("-l", mount.path());
    assert_eq!(long.len(), IMAGES + 1, "with a line of the total");
    assert!(long[1..].iter().all(|line| line.contains(" 1049088 ")));

    // Once more when the kernel asks again: no image is read again.
    thread::sleep(Duration::from_secs(1));
    let before = number_of(pid, "io", "rchar");
    assert_eq!(ls("-l", mount.path()).len(), IMAGES + 1);
    let read = number_of(pid, "io", "rchar") - before;
    assert!(read < 64 * IMAGES as u64, "{read} bytes were read again");

    // These are another 100,000 inodes: those before are forgotten.
    touch_images(&folder);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(ls("-l", mount.path()).len(), IMAGES + 1);
    let peak = number_of(pid, "status", "VmHWM") * 1024;
    eprintln!("peak of the daemon's memory: {} MiB", peak / MIB);
    assert!(peak < 128 * MIB, "the daemon took {peak} bytes");
    let last = folder.join("099999.raw");
    oracle_verify(&last, &mount.join("099999.vhd"));
    mount.unmount();
}

/// Writes the system calls of all threads of a process that read folders to a file.
pub(crate) fn trace(pid: u32, to: &Path) -> Child {
    let tracer = Command::new(tool("strace"))
        .args(["-f", "-e", "trace=getdents64,pread64,openat2", "-p"])
        .arg(pid.to_string())
        .arg("-o")
        .arg(to)
        .stderr(Stdio::null())
        .spawn()
        .expect("start strace");
    eventually("the tracer", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        tasks.flatten().all(|task| {
            fs::read_to_string(task.path().join("status"))
                .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        })
    });
    tracer
}

/// Ends a trace, and returns what it has written.
pub(crate) fn traced(mut tracer: Child, to: &Path) -> String {
    let tracer_pid = Pid::from_child(&tracer);
    kill_process(tracer_pid, Signal::INT).expect("stop the tracer");
    tracer.wait().expect("the tracer's end");
    fs::read_to_string(to).expect("the calls")
}

#[test]
fn a_look_up_does_not_read_the_folder_and_sniffs_a_few_sectors() {
    let lab = Lab::new();
    let folder = lab.folder("source");
    for number in 0..500 {
        random_image(&folder.join(format!("{number}.raw")), number, 70_000);
    }
    let mount = Options::default().mount(&folder);
    let pid = mount.pids()[0];
    let calls = lab.path().join("calls");
    let tracer = trace(pid, &calls);
    assert_eq!(
        mount.join("77.vhd").metadata().expect("a view").len(),
        MIB + 512
    );
    assert_eq!(errno_of(mount.join("none.vhd").metadata()), Errno::NOENT);
    let calls = traced(tracer, &calls);
    assert!(lines_with(&calls, "getdents64").is_empty(), "{calls}");
    // The head and the tail of one file, 512 bytes each, and where an optical disc has its descriptor.
    let reads = lines_with(&calls, "pread64");
    assert!((1..=3).contains(&reads.len()), "{calls}");
    let is_small = |read: &&str| read.contains(", 512, ") || read.contains(", 6, ");
    assert!(reads.iter().all(is_small), "{calls}");
    mount.unmount();
}
