//! Releases of systemd, and which of its words each knows.

use std::fmt::{self, Display};
use std::str::FromStr;

/// A release of systemd: `252`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u32);

impl Release {
    /// The oldest that is rendered for: Debian 12. Older ones lack `Upholds=` (249), `ExitType=` (250) and others.
    pub const OLDEST: Release = Release(252);

    /// Whether this release knows a key; a key that is not listed here is older than [`Release::OLDEST`].
    pub fn knows(self, key: &str) -> bool {
        SINCE.iter().find(|(known, _)| *known == key).is_none_or(|(_, since)| self.0 >= *since)
    }
}

/// Keys younger than [`Release::OLDEST`] that are ever written, and the release that brought each.
const SINCE: &[(&str, u32)] = &[
    ("RestartMode", 254),
    ("RestartSteps", 254),
    ("RestartMaxDelaySec", 254),
    ("FileDescriptorStorePreserve", 254),
];

impl Default for Release {
    fn default() -> Self {
        Release::OLDEST
    }
}

impl Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Release, String> {
        match text.parse() {
            Ok(number) if number >= Release::OLDEST.0 => Ok(Release(number)),
            _ => Err(format!("a release of systemd from {} on", Release::OLDEST)),
        }
    }
}
