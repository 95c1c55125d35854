//! Per subtree the first mode that is faithful.

use super::{Error, Options, Rendering, native};
use crate::tree::Plan;

/// The units of a tree.
pub fn render(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    native::render(plan, options)
}
