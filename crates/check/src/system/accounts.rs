//! Users and groups of a system.

use crate::files::Tree;
use crate::unread::Unread;

/// The lines of `/etc/passwd`, and of users that are made at boot.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    passwd: String,
}

impl Accounts {
    /// Reads them.
    pub(crate) fn read(tree: &Tree) -> Result<Self, Unread> {
        let mut passwd = tree.text("/etc/passwd")?.unwrap_or_default();
        // Systems that keep their own users apart (ostree, systemd-userdb).
        passwd.push_str(&tree.text("/usr/lib/passwd")?.unwrap_or_default());
        for (_, text) in tree.texts_in("/usr/lib/sysusers.d", ".conf")? {
            for line in text.lines() {
                let mut words = line.split_whitespace();
                if matches!(words.next(), Some("u" | "u!"))
                    && let Some(name) = words.next()
                {
                    passwd.push_str(&format!("\n{name}:made at boot"));
                }
            }
        }
        Ok(Self { passwd })
    }

    /// Whether there is a user of this name or number.
    pub(crate) fn has_user(&self, user: &str) -> bool {
        user.bytes().all(|byte| byte.is_ascii_digit())
            || self
                .passwd
                .lines()
                .any(|line| line.split(':').next() == Some(user))
    }
}
