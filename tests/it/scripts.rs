//! Scripts of the project that no other test runs to their end: the bench, the twins, the examples.

use std::process::Command;

use crate::harness::process::{python, repository};
use crate::harness::{run, run_ok, stdout_of, tool};

/// Files of the project, as many as `patterns` of Git name.
fn files(patterns: &[&str]) -> Vec<String> {
    let mut git = Command::new(tool("git"));
    git.arg("-C").arg(repository()).args(["ls-files", "--"]);
    let list = stdout_of(git.args(patterns));
    let files: Vec<_> = list.lines().map(str::to_owned).collect();
    assert!(!files.is_empty(), "{patterns:?}");
    files
}

#[test]
fn programs_in_python_use_no_name_that_is_not_defined() {
    let mut pyflakes = python();
    pyflakes.current_dir(repository()).args(["-m", "pyflakes"]);
    let output = run(pyflakes.args(files(&["*.py"])));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.stderr.is_empty(), "{output:?}");
    // What `import *` brings is not followed.
    let undefined: Vec<_> = said
        .lines()
        .filter(|line| line.contains("undefined name "))
        .collect();
    assert!(undefined.is_empty(), "{undefined:#?}");
}

#[test]
fn shell_scripts_can_be_read() {
    let all = files(&["scripts/*", ".ci/*", "examples/*", "packaging/*"]);
    let of_bash = |file: &String| {
        let text = std::fs::read(repository().join(file)).unwrap_or_default();
        text.starts_with(b"#!/usr/bin/env bash") || text.starts_with(b"#!/bin/sh")
    };
    let scripts: Vec<_> = all.into_iter().filter(of_bash).collect();
    assert!(scripts.len() > 10, "{scripts:?}");
    for script in scripts {
        let mut bash = Command::new(tool("bash"));
        run_ok(bash.arg("-n").arg(repository().join(script)));
    }
}
