//! Values of INI files, and patterns of names.

/// The last value of a key in a section of a file in the form of `.ini`.
pub(super) fn ini_value<'t>(text: &'t str, section: &str, key: &str) -> Option<&'t str> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.trim_end_matches(']') == section;
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            found = Some(value.trim());
        }
    }
    found
}

/// Whether one of several patterns, parted by blanks, fits a name; those behind `!` must not.
pub(super) fn matches_any(patterns: &str, name: &str) -> bool {
    let inverted = patterns.trim_start().starts_with('!');
    let patterns = patterns.trim_start().trim_start_matches('!');
    let any = patterns
        .split_whitespace()
        .any(|pattern| matches(pattern, name));
    any != inverted
}

/// Whether a pattern of the shell fits a name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        let taken = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'[') => class(&pattern[p..], name[n]),
            Some(b'?') => Some(1),
            Some(&byte) if byte == name[n] => Some(1),
            _ => None,
        };
        match (taken, star) {
            (Some(width), _) => (p, n) = (p + width, n + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p.min(pattern.len())..]
        .iter()
        .all(|&byte| byte == b'*')
}

/// How long a class such as `[0-9]` is where it holds a letter.
fn class(pattern: &[u8], letter: u8) -> Option<usize> {
    let end = pattern
        .iter()
        .position(|&byte| byte == b']')
        .filter(|&end| end > 1)?;
    let inside = &pattern[1..end];
    let (inside, inverted) = match inside.first() {
        Some(b'!' | b'^') => (&inside[1..], true),
        _ => (inside, false),
    };
    let mut holds = false;
    let mut at = 0;
    while at < inside.len() {
        if at + 2 < inside.len() && inside[at + 1] == b'-' {
            holds |= (inside[at]..=inside[at + 2]).contains(&letter);
            at += 3;
        } else {
            holds |= inside[at] == letter;
            at += 1;
        }
    }
    (holds != inverted).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        assert!(matches("eth*", "eth0") && matches("eth[0-9]", "eth0") && matches("*", "eth0"));
        assert!(!matches("en*", "eth0") && !matches("eth[!0]", "eth0") && !matches("eth", "eth0"));
        assert!(matches_any("en* eth*", "eth0") && !matches_any("!eth*", "eth0"));
        assert!(matches_any("!lo", "eth0"));
    }

    proptest! {
        #[test]
        fn any_pattern_fits_or_not(pattern: String, name: String) {
            let _ = matches(&pattern, &name);
            let _ = ini_value(&pattern, "a", "b");
        }
    }
}
