//! YAML, as netplan and cloud-init have it, within bounds.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};
use thiserror::Error;

/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most events of a document.
const MAX_EVENTS: usize = 50_000;
/// Largest text, in bytes.
const MAX_SIZE: usize = 1 << 20;

/// Why a text cannot be read.
#[derive(Debug, Error)]
pub(crate) enum YamlError {
    /// It is no YAML.
    #[error("{0}")]
    Syntax(String),
    /// It is too large or too deep.
    #[error("it is too large or too deep")]
    Bounds,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A text, a number or nothing.
    Scalar(String),
    /// A list.
    List(Vec<Value>),
    /// Keys and values.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Keys and values, none where it is no map.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Self)> {
        let map = match self {
            Self::Map(map) => Some(map),
            _ => None,
        };
        map.into_iter().flatten()
    }

    /// The items of a list, none where it is no list.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Whether it means yes.
    pub(crate) fn is_true(&self) -> bool {
        self.text()
            .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on"))
    }
}

enum Open {
    List(Vec<Value>),
    Map(BTreeMap<String, Value>, Option<String>),
}

/// Reads the first document of a text.
pub(crate) fn parse(text: &str) -> Result<Value, YamlError> {
    if text.len() > MAX_SIZE {
        return Err(YamlError::Bounds);
    }
    let mut open: Vec<Open> = Vec::new();
    for (count, event) in Parser::new_from_str(text).enumerate() {
        let (event, _) = event.map_err(|error| YamlError::Syntax(error.to_string()))?;
        if count > MAX_EVENTS || open.len() > MAX_DEPTH {
            return Err(YamlError::Bounds);
        }
        let done = match event {
            // What it stands for could grow without bounds, and matters nowhere here.
            Event::Alias(_) => Some(Value::Scalar(String::new())),
            Event::Scalar(text, ..) => Some(Value::Scalar(text.into_owned())),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(BTreeMap::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Some(Value::List(items)),
                Some(Open::Map(map, _)) => Some(Value::Map(map)),
                None => None,
            },
            _ => None,
        };
        let Some(value) = done else {
            continue;
        };
        match open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(name) => drop(map.insert(name, value)),
                None => *key = Some(value.text().unwrap_or_default().to_owned()),
            },
            None => return Ok(value),
        }
    }
    Ok(Value::Scalar(String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documents() {
        let value =
            parse("network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: yes}\n").unwrap();
        let eth0 = value
            .get("network")
            .and_then(|n| n.get("ethernets"))
            .and_then(|e| e.get("eth0"));
        assert!(eth0.unwrap().get("dhcp4").unwrap().is_true());
        assert!(parse("a: [1, 2\nb: }").is_err());
        let aliased = parse("a: &x [1]\nb: *x\n").unwrap();
        assert_eq!(aliased.get("b").and_then(Value::text), Some(""));
        assert!(parse(&"[".repeat(100)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = parse(&text);
        }
    }
}
