//! What plain units cannot say: the named deviations. Each is listed in `units/README.md` and has a test that shows it.

use std::fmt::{self, Display};

use super::release::Release;

/// A difference between a tree and its native units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deviation {
    /// systemd counts restarts in windows that stand one behind the other, OTP in one that slides.
    TumblingWindow,
}

/// A deviation at a place of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviates {
    /// Which.
    pub deviation: Deviation,
    /// Path of the child.
    pub path: String,
    /// What it means there.
    pub text: String,
}

impl Deviation {
    /// All of them.
    pub const ALL: &[Deviation] = &[Deviation::TumblingWindow];

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Deviation::TumblingWindow => "tumbling-window",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Deviation> {
        Deviation::ALL.iter().copied().find(|deviation| deviation.name() == name)
    }

    /// What it is, in one sentence.
    pub fn means(self) -> &'static str {
        match self {
            Deviation::TumblingWindow => {
                "restarts are counted from the first one on, not over the last period"
            }
        }
    }

    /// The first release without it, if there is one.
    pub fn until(self) -> Option<Release> {
        match self {
            Deviation::TumblingWindow => None,
        }
    }
}

impl Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
