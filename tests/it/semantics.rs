//! `docs/SEMANTICS.md` and the tests agree: every promise names tests that exist, and every test of
//! the promises is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::harness::process::repository;

/// Test files that do nothing but keep promises: each of their tests stands in the table.
const WHOLE_FILES: [&str; 32] = [
    "tests/it/announce.rs",
    "tests/it/attributes.rs",
    "tests/it/bytes.rs",
    "tests/it/cat.rs",
    "tests/it/cluster.rs",
    "tests/it/commands.rs",
    "tests/it/consistency.rs",
    "tests/it/folders.rs",
    "tests/it/formats.rs",
    "tests/it/grow.rs",
    "tests/it/help.rs",
    "tests/it/lifecycle.rs",
    "tests/it/links.rs",
    "tests/it/manifest.rs",
    "tests/it/map.rs",
    "tests/it/model.rs",
    "tests/it/mountpoints.rs",
    "tests/it/names.rs",
    "tests/it/permissions.rs",
    "tests/it/resume.rs",
    "tests/it/scale.rs",
    "tests/it/sources/chains.rs",
    "tests/it/sources/compressed.rs",
    "tests/it/sources/damage.rs",
    "tests/it/sources/listing.rs",
    "tests/it/sources/machines.rs",
    "tests/it/sources/matrix.rs",
    "tests/it/sources/oracles.rs",
    "tests/it/sources/qcow2.rs",
    "tests/it/sources/unusual.rs",
    "tests/it/sources/upload.rs",
    "tests/it/versions.rs",
];

/// One promise: its id, its text and the tests that it names, each as (file, name).
struct Promise {
    id: String,
    text: String,
    tests: Vec<(String, String)>,
}

/// The rows of all tables whose first cell is an id: a letter and a number.
fn promises() -> Vec<Promise> {
    let text = fs::read_to_string(repository().join("docs/SEMANTICS.md")).expect("the document");
    text.lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix("| ")?.split(" | ").collect();
            let [id, text, tests] = cells[..] else {
                return None;
            };
            let (letter, number) = id.split_at_checked(1)?;
            let is_id = letter.chars().all(|letter| letter.is_ascii_uppercase())
                && number.parse::<u32>().is_ok();
            is_id.then(|| Promise {
                id: id.to_string(),
                text: text.to_string(),
                tests: tests
                    .split('`')
                    .filter_map(|word| word.split_once("::"))
                    .map(|(file, name)| (format!("{file}.rs"), name.to_string()))
                    .collect(),
            })
        })
        .collect()
}

/// Names of the tests in a file, that of a module below `tests` or `src`.
fn tests_of(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join(file))
        .unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut lines = text.lines().map(str::trim);
    let mut found = BTreeSet::new();
    while let Some(line) = lines.next() {
        if line == "#[test]" {
            let function = lines.find_map(|line| line.strip_prefix("fn ")).expect(file);
            let name = function.split('(').next().expect(file);
            assert!(found.insert(name.to_string()), "{file}: {name} twice");
        }
    }
    assert!(!found.is_empty(), "{file} has no tests");
    found
}

#[test]
fn every_promise_names_tests_that_exist() {
    let mut known = BTreeMap::new();
    let promises = promises();
    assert!(promises.len() > 60, "only {} promises", promises.len());
    for promise in &promises {
        assert!(!promise.tests.is_empty(), "{}: no test", promise.id);
        assert!(!promise.text.is_empty(), "{}: no text", promise.id);
        for (file, name) in &promise.tests {
            let tests = known.entry(file).or_insert_with(|| tests_of(file));
            assert!(tests.contains(name), "{}: no {name} in {file}", promise.id);
        }
    }
}

#[test]
fn every_promise_has_a_number_of_its_own() {
    let mut last = BTreeMap::new();
    for promise in promises() {
        let (letter, number) = promise.id.split_at(1);
        let last = last.entry(letter.to_string()).or_insert(0);
        let number: u32 = number.parse().expect("a number");
        assert_eq!(number, *last + 1, "{} is not the next", promise.id);
        *last = number;
    }
    // The contract's sections: bytes, images in other formats, names, consistency, attributes, command
    // line; and what is promised of folders, scale and permissions.
    let sections: String = last.keys().map(String::as_str).collect();
    assert_eq!(sections, "ABCDFILMNPSU");
}

#[test]
fn every_test_of_a_promise_is_named() {
    let named: BTreeSet<_> = promises()
        .into_iter()
        .flat_map(|promise| promise.tests)
        .collect();
    for file in WHOLE_FILES {
        for name in tests_of(file) {
            let test = (file.to_string(), name);
            assert!(named.contains(&test), "{test:?} is in no row");
        }
    }
}
