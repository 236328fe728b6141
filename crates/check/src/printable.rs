//! Text of others, such as names of files and what stands in an image, made fit for a terminal.

/// The text with a question mark for each control character: they could move the cursor, colour
/// the terminal or begin a line that looks like ours.
pub fn printable(text: &str) -> String {
    let shown = text.chars().map(|letter| match letter.is_control() {
        true => '?',
        false => letter,
    });
    shown.collect()
}
