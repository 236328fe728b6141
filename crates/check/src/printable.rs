//! Text of others, such as names of files and what stands in an image, made fit for a terminal.

/// The text with control characters written out: they could move the cursor, colour the terminal
/// or begin a line that looks like ours.
pub fn printable(text: &str) -> String {
    let escaped = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    escaped.collect()
}
