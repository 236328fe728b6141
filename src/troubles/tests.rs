use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;

/// What introduces the text of a message that stands alone.
const MACROS: [&str; 3] = ["warn!(", "error!(", "log!("];

/// Files all of whose typed errors are whole messages; others hold reasons, which are parts of them.
const WHOLE: [&str; 5] = [
    "src/mount/",
    "src/logging/",
    "src/cli/mount_options.rs",
    "src/commands/",
    "src/daemon/events.rs",
];

/// Every source file without its unit tests, by its path below the repository.
fn sources() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![top.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(top)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.contains("tests") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
                found.push((name, code.to_owned()));
            }
        }
    }
    found
}

/// The string literal that `text` begins with, after white space and one argument at most.
fn literal(text: &str) -> Option<String> {
    let text = text.trim_start();
    let text = text.strip_prefix("level, ").unwrap_or(text);
    let rest = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(value),
            '\\' => match letters.next()? {
                // A line that goes on below.
                '\n' => {
                    let left = letters.as_str().trim_start();
                    letters = left.chars();
                }
                letter => value.push(letter),
            },
            letter => value.push(letter),
        }
    }
}

/// The message as the document quotes it: `…` in the place of what varies.
fn template(literal: &str) -> String {
    let mut shown = String::new();
    let mut depth = 0;
    for letter in literal.chars() {
        match letter {
            '{' => {
                if depth == 0 && !shown.ends_with('…') {
                    shown.push('…');
                }
                depth += 1;
            }
            '}' => depth -= 1,
            _ if depth == 0 => shown.push(letter),
            _ => {}
        }
    }
    shown
}

/// Every text that stands alone: where it is, and its literal.
fn messages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, code) in sources() {
        let mut introductions: Vec<&str> = MACROS.to_vec();
        if WHOLE.iter().any(|whole| name.starts_with(whole)) {
            introductions.extend(["#[error(", "Failure::usage(format!(", "message: format!("]);
        }
        for introduction in introductions {
            for (at, _) in code.match_indices(introduction) {
                // `log::error!` is one of `error!`, and `some_error!` is none.
                let before = code[..at].chars().next_back();
                if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
                    continue;
                }
                if let Some(text) = literal(&code[at + introduction.len()..]) {
                    found.push((name.clone(), text));
                }
            }
        }
        // Further literals that end with an id, wherever they stand.
        for (at, _) in code.match_indices('"') {
            if !code[..at].ends_with('\\')
                && let Some(text) = literal(&code[at..])
                && !text.contains('\n')
                && id_of(&text).is_some()
            {
                found.push((name.clone(), text));
            }
        }
    }
    found
}

/// A text that only passes another message on.
fn passes_on(literal: &str) -> bool {
    literal.starts_with('{') && literal.ends_with('}') && template(literal) == "…"
}

#[test]
fn each_message_has_an_id_and_each_id_a_section_that_quotes_it_once() {
    let mut said = BTreeMap::<String, BTreeSet<String>>::new();
    let mut wrong = Vec::new();
    for (place, text) in messages() {
        if passes_on(&text) {
            continue;
        }
        let Some(id) = id_of(&text) else {
            wrong.push(format!("{place}: {text:?} has no id"));
            continue;
        };
        if find(id).is_none() {
            wrong.push(format!("{place}: no section is called [{id}]"));
        }
        let template = template(text.strip_suffix(&format!(" [{id}]")).unwrap());
        said.entry(id.to_owned()).or_default().insert(template);
    }
    assert!(said.len() > 40, "{said:?}");
    let mut ids = BTreeSet::new();
    for trouble in all() {
        let id = trouble.id;
        if !ids.insert(id) {
            wrong.push(format!("[{id}] has two sections"));
        }
        let quoted: Vec<_> = trouble.messages().map(str::to_owned).collect();
        let once: BTreeSet<_> = quoted.iter().cloned().collect();
        if once.len() != quoted.len() {
            wrong.push(format!("[{id}] quotes a message twice"));
        }
        if id == OTHER {
            continue;
        }
        let said = said.remove(id).unwrap_or_default();
        wrong.extend(
            once.symmetric_difference(&said)
                .map(|text| match said.contains(text) {
                    true => format!("[{id}] does not quote: {text}"),
                    false => format!("[{id}] quotes what nothing says: {text}"),
                }),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sections_are_found_by_their_ids() {
    assert!(all().count() > 40);
    for trouble in all() {
        assert_eq!(find(&format!("[{}]", trouble.id)).unwrap().id, trouble.id);
        assert!(!trouble.text.contains("\n#"), "{trouble:?}");
    }
    assert!(find("nothing").is_none());
}

#[test]
fn messages_without_an_id_get_one() {
    assert_eq!(with_id("it failed"), "it failed [system]");
    assert_eq!(with_id("a[1]"), "a[1] [system]");
    assert_eq!(
        with_id("it failed [fuse-missing]"),
        "it failed [fuse-missing]"
    );
}
