//! Tree files: from TOML text to a [`Plan`], or to *all* the reasons why not.

mod plan;

pub use plan::*;
