//! Whatever is refused is refused in one line, which names the culprit and says what to do.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod mounting;
mod place;
