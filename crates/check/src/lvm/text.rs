//! The text in which LVM describes a volume group: sections of names with values.

use crate::unread::Unread;

/// Deepest section in a section.
const MAX_DEPTH: usize = 8;
/// Most names and values.
const MAX_ITEMS: usize = 200_000;

/// Names with their values, in their order.
#[derive(Debug, Default)]
pub(super) struct Section(Vec<(String, Value)>);

#[derive(Debug)]
enum Value {
    One(String),
    List(Vec<String>),
    Section(Section),
}

impl Section {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value)
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        match self.get(name) {
            Some(Value::Section(section)) => Some(section),
            _ => None,
        }
    }

    /// All sections in it.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }

    /// A single value.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::One(text)) => Some(text),
            _ => None,
        }
    }

    /// A single value that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The values of a list; none where there is no list.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let list = match self.get(name) {
            Some(Value::List(list)) => &list[..],
            _ => &[],
        };
        list.iter().map(String::as_str)
    }
}

/// Reads a description.
pub(super) fn parse(text: &str) -> Result<Section, Unread> {
    let mut parser = Parser {
        rest: text.trim_end_matches('\0'),
        items: 0,
    };
    let section = parser.section(0);
    section.ok_or_else(|| Unread::Lvm("its metadata is damaged".to_owned()))
}

struct Parser<'t> {
    rest: &'t str,
    items: usize,
}

impl Parser<'_> {
    /// Blanks and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            let line = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[line..];
        }
    }

    fn take(&mut self, letter: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> Option<String> {
        self.skip();
        let is_end = |c: char| c.is_whitespace() || "={}[],#\"".contains(c);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// A number, or a text in quotes.
    fn value(&mut self) -> Option<String> {
        if !self.take('"') {
            return self.word();
        }
        let mut text = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(letters.next()?.1),
                letter => text.push(letter),
            }
        }
        None
    }

    fn list(&mut self) -> Option<Vec<String>> {
        let mut list = Vec::new();
        while !self.take(']') {
            self.count()?;
            list.push(self.value()?);
            self.take(',');
        }
        Some(list)
    }

    fn count(&mut self) -> Option<()> {
        self.items += 1;
        (self.items < MAX_ITEMS).then_some(())
    }

    /// Names and values to the end of the section, or of the text outside of all.
    fn section(&mut self, depth: usize) -> Option<Section> {
        let mut section = Section::default();
        loop {
            self.skip();
            if self.rest.is_empty() {
                return (depth == 0).then_some(section);
            }
            if depth > 0 && self.take('}') {
                return Some(section);
            }
            self.count()?;
            let name = self.word()?;
            let value = if self.take('{') {
                (depth < MAX_DEPTH).then_some(())?;
                Value::Section(self.section(depth + 1)?)
            } else {
                self.take('=').then_some(())?;
                match self.take('[') {
                    true => Value::List(self.list()?),
                    false => Value::One(self.value()?),
                }
            };
            section.0.push((name, value));
        }
    }
}
