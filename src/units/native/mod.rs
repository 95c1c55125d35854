//! Plain units: a service per worker, an anchor per supervisor.

use super::{Error, Options, Rendering, Unit, names};
use crate::tree::Plan;

/// The units of a tree.
pub fn render(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    let path = plan.tree.id.to_string();
    let unit = Unit::new(format!("{}.service", names::stem(&options.prefix, &path)), path);
    Ok(Rendering { units: vec![unit], ..Rendering::default() })
}
