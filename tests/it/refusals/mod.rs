//! Whatever is refused is refused in one line, which names the culprit and says what to do.

mod commands;
mod mounting;
mod place;
