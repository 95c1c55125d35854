//! Lines that every unit of the native way has.

use crate::units::{Options, Section, Unit};

/// What a unit is, for people.
pub fn description(unit: &mut Unit, text: &str, options: &Options) {
    unit.set(
        Section::Unit,
        "Description",
        crate::units::escape::specifiers(text),
        "description",
        "what people see in status and journal",
    );
    let source = crate::units::escape::specifiers(&options.source.to_string_lossy());
    unit.set(Section::Unit, "SourcePath", source, "", "the file that it comes from");
}
