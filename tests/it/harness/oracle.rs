//! The independent oracle, `tests/oracle/fixed_vhd.py`, as the judge.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::process::{describe, run, test_file, tool};

/// The oracle with its subcommand still to come; it needs the standard library alone.
pub(crate) fn oracle() -> Command {
    let mut command = Command::new(tool("python3"));
    command.arg("-B").arg(test_file("oracle/fixed_vhd.py"));
    command
}

/// Panics with every difference between `vhd` and what the oracle makes of `raw`.
pub(crate) fn oracle_verify(raw: &Path, vhd: &Path) {
    let mut command = oracle();
    command.arg("verify").args([raw, vhd]);
    let output = run(&mut command);
    assert!(output.status.success(), "{}", describe(&command, &output));
}

/// Puts all questions to one process of the oracle and returns its answers, line by line.
///
/// `geometry SIZE` gives `CYLINDERS HEADS SECTORS`; `footer NAME SIZE MTIME`, the name in
/// hexadecimal digits, gives `VIRTUAL_SIZE BYTES`; `layout SIZE` gives the oracle's own JSON.
pub(crate) fn ask_oracle(questions: &[String]) -> Vec<String> {
    let mut child = Command::new(tool("python3"))
        .arg("-B")
        .arg(test_file("oracle/batch.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the oracle");
    let mut stdin = child.stdin.take().expect("its standard input");
    let text = questions.join("\n");
    // It answers while it reads: two full pipes would wait for each other.
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let mut answers = String::new();
    child
        .stdout
        .take()
        .expect("its standard output")
        .read_to_string(&mut answers)
        .expect("read the oracle's answers");
    writer.join().expect("writer").expect("ask the oracle");
    assert!(child.wait().expect("wait for the oracle").success());
    let answers: Vec<String> = answers.lines().map(String::from).collect();
    assert_eq!(answers.len(), questions.len());
    answers
}
