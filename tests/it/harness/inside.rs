//! System calls made from inside of a running process, by a debugger: what its sandbox lets it do.

use std::path::Path;
use std::process::Command;

use super::process::{stdout_of, tool};

/// Calls of one thread of a process, made in order.
pub(crate) struct Inside {
    pid: u32,
    thread: usize,
    calls: Vec<String>,
}

/// What a call returned, or its errno.
pub(crate) type Answer = Result<i64, i32>;

impl Inside {
    /// Thread `thread` of the process, as the debugger counts them from 1.
    pub(crate) fn new(pid: u32, thread: usize) -> Self {
        Self {
            pid,
            thread,
            calls: Vec::new(),
        }
    }

    /// open(2) with a mode of 0600.
    pub(crate) fn open(self, path: &Path, flags: i32) -> Self {
        let path = path.to_str().expect("a path of the tests");
        let directory = libc::AT_FDCWD;
        self.call(
            libc::SYS_openat,
            &format!("{directory}, \"{path}\", {flags}, 0600"),
        )
    }

    /// The system call of this number with these arguments.
    pub(crate) fn call(mut self, number: libc::c_long, arguments: &str) -> Self {
        // By the C library's `syscall`: the program may have functions of its own that are called `open`. Every
        // argument is passed in a register of its own, as the kernel's calls have it.
        let arguments = format!("{number}, {arguments}");
        let types = vec!["long"; arguments.split(',').count()].join(",");
        let arguments: Vec<_> = arguments
            .split(',')
            .map(|argument| format!("(long)({})", argument.trim()))
            .collect();
        self.calls.push(format!(
            "((long(*)({types}))syscall)({})",
            arguments.join(",")
        ));
        self
    }

    /// Makes the calls. The process goes on afterwards.
    pub(crate) fn answers(self) -> Vec<Answer> {
        let mut command = Command::new(tool("gdb"));
        command.args(["-q", "-nx", "-batch", "-p", &self.pid.to_string()]);
        let mut run = |line: String| {
            command.args(["-ex", &line]);
        };
        run("set debuginfod enabled off".into());
        run("set language c".into());
        run(format!("thread {}", self.thread));
        for call in &self.calls {
            run(format!("printf \"result %d\\n\", (int)({call})"));
            run("printf \"errno %d\\n\", *((int*(*)(void))__errno_location)()".into());
        }
        let text = stdout_of(&mut command);
        let numbers = |name: &str| -> Vec<i64> {
            let found = text.lines().filter_map(|line| line.strip_prefix(name));
            found
                .map(|number| number.trim().parse().expect("a number"))
                .collect()
        };
        let (results, errors) = (numbers("result "), numbers("errno "));
        assert_eq!(results.len(), self.calls.len(), "{command:?}\n{text}");
        let answers = results.into_iter().zip(errors);
        answers
            .map(|(result, errno)| {
                if result < 0 {
                    Err(errno as i32)
                } else {
                    Ok(result)
                }
            })
            .collect()
    }
}
