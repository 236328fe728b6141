//! `unsafe` stands in one module, and every use of it says why it is sound.

use std::fs;
use std::path::{Path, PathBuf};

/// The only crate that may hold `unsafe` code, and its root.
const MODULE: &str = "crates/sys/src";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The line without what stands behind `//`, nor anything in double quotes.
fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    line.split('"').step_by(2).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    code(line)
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|found| found == word)
}

/// Lines, counted from 1, that use `unsafe` without a `SAFETY:` comment right above, or above the
/// statement that they belong to.
fn unexplained(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let is_comment = |line: &&&str| line.trim().starts_with("//");
    let goes_on = |line: &&&str| line.ends_with('=') || line.ends_with('(');
    let is_explained = |number: usize| {
        let above = lines[..number].iter().rev().skip_while(goes_on);
        above
            .take_while(is_comment)
            .any(|line| line.contains("SAFETY:"))
    };
    (0..lines.len())
        .filter(|&number| has_word(lines[number], "unsafe") && !is_explained(number))
        .map(|number| number + 1)
        .collect()
}

#[test]
fn unsafe_code_stands_in_one_module() {
    let mut files = Vec::new();
    for folder in ["src", "crates", "tests", "examples"] {
        let folder = repository().join(folder);
        if folder.is_dir() {
            rust_files(&folder, &mut files);
        }
    }
    assert!(files.len() > 20, "found only {files:?}");
    for file in files {
        let name = file.strip_prefix(repository()).expect("a file of ours");
        let text = fs::read_to_string(&file).expect("a source file");
        if name.starts_with(MODULE) {
            continue;
        }
        if name.ends_with("src/lib.rs") {
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{}",
                name.display()
            );
        }
        let uses: Vec<_> = text
            .lines()
            .filter(|line| has_word(line, "unsafe"))
            .collect();
        assert!(uses.is_empty(), "{}: {uses:?}", name.display());
        // The compiler forbids it elsewhere; nobody else may lift the lint.
        let lifted = text.lines().any(|line| {
            has_word(line, "unsafe_code") && (has_word(line, "allow") || has_word(line, "expect"))
        });
        assert!(!lifted, "{} lifts the lint", name.display());
    }
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let mut files = Vec::new();
    rust_files(&repository().join(MODULE), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).expect("a file of the module");
        assert!(text.lines().any(|line| has_word(line, "unsafe")));
        let lines = unexplained(&text);
        assert_eq!(lines, [0; 0], "lines of {}", file.display());
    }
}

#[test]
fn what_is_unexplained_is_noticed() {
    assert_eq!(
        unexplained("// SAFETY: so\nunsafe { f() }\nunsafe { g() }"),
        [3]
    );
    assert_eq!(unexplained("// because\nlet a = unsafe { f() };"), [2]);
    assert_eq!(
        unexplained("// SAFETY: so\nlet a =\n    unsafe { f() };"),
        [0; 0]
    );
    let quoted = ["let a = ", "unsafe", "; // unsafe"].join(&char::from(34).to_string());
    assert_eq!(unexplained(&quoted), [0; 0]);
}
