use proptest::prelude::*;

use super::mapping::{Mapping, Run, Segment, Stripe};
use super::{Logical, text};

const DESCRIPTION: &str = r#"my-group {
# a comment { with "signs"
id = "uuid-1"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192		# 4 Megabytes
logical_volumes {
    root {
        id = "uuid-2"
        status = ["READ", "WRITE", "VISIBLE"]
        description = "with \"quotes\""
        segment_count = 1
        segment1 { start_extent = 0
            stripes = [
                "pv0", 0,
                "pv1", 25
            ] }
    }
}
}
contents = "Text Format Volume Group"
version = 1
"#;

#[test]
fn descriptions() {
    let all = text::parse(DESCRIPTION).unwrap();
    let group = all.section("my-group").unwrap();
    assert_eq!(group.number("extent_size"), Some(8192));
    assert_eq!(group.list("flags").count(), 0);
    let root = group.section("logical_volumes").unwrap().section("root");
    let root = root.unwrap();
    assert_eq!(root.text("description"), Some("with \"quotes\""));
    let segment = root.section("segment1").unwrap();
    let stripes: Vec<_> = segment.list("stripes").collect();
    assert_eq!(stripes, ["pv0", "0", "pv1", "25"]);
    assert_eq!(all.text("contents"), Some("Text Format Volume Group"));
    for end in [10, 60, 400] {
        assert!(text::parse(&DESCRIPTION[..end]).is_err());
    }
    assert!(text::parse(&"a {".repeat(10_000)).is_err());
}

#[test]
fn names_below_dev_mapper() {
    let logical = Logical {
        group: "my-group".to_owned(),
        name: "root".to_owned(),
        id: String::new(),
        mapping: Err(String::new()),
    };
    assert_eq!(logical.mapper_name(), "my--group-root");
}

#[test]
fn impossible_numbers() {
    let linear = |start, length| Segment::new(start, length, 0, vec![Stripe(0)]);
    assert!(linear(u64::MAX, 1).is_none());
    assert!(linear(0, 0).is_none());
    assert!(Segment::new(0, 64, 0, vec![]).is_none());
    assert!(Segment::new(0, 100, 16, vec![Stripe(0), Stripe(64)]).is_none());
    assert!(Segment::new(0, 64, 0, vec![Stripe(0), Stripe(64)]).is_none());
    let gap = vec![linear(0, 10).unwrap(), linear(11, 10).unwrap()];
    assert!(Mapping::new(gap).is_none());
    let whole = Mapping::new(vec![linear(0, 10).unwrap()]).unwrap();
    assert_eq!(whole.locate(10), None);
    assert_eq!(
        whole.locate(9),
        Some(Run {
            start: 9,
            length: 1
        })
    );
}

proptest! {
    /// Bytes dealt out in turns are found again.
    #[test]
    fn stripes(count in 1..5_u64, chunk in 1..9_u64, rounds in 1..6_u64, first in 0..20_u64) {
        let length = count * chunk * rounds;
        let gap = chunk * rounds + 3;
        let stripes = (0..count).map(|number| Stripe(first + number * gap)).collect();
        let mapping = Mapping::new(vec![Segment::new(0, length, chunk, stripes).unwrap()]).unwrap();
        for offset in 0..length {
            let number = offset / chunk;
            let expected =
                first + number % count * gap + number / count * chunk + offset % chunk;
            let run = mapping.locate(offset).unwrap();
            prop_assert_eq!(run.start, expected);
            prop_assert!(run.length >= 1 && run.length <= length);
        }
        prop_assert_eq!(mapping.size(), length);
    }

    #[test]
    fn any_text_is_read(text: String) {
        let _ = text::parse(&text);
    }
}
