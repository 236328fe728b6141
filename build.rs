//! Tells the program for which target it is built, and a release of which commit it is.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VHDFS_COMMIT");
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=VHDFS_TARGET={target}");
    // Builds of developers do not follow every commit.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_release && let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = env::var("VHDFS_COMMIT")
        .ok()
        .or_else(|| is_release.then(head).flatten());
    println!(
        "cargo::rustc-env=VHDFS_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}

/// The commit that is checked out; `None` outside of a repository.
fn head() -> Option<String> {
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// What git prints; `None` where it fails, or prints nothing.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
