//! Slices: a control group for the tree and one for each supervisor, so that `systemd-cgls`, limits and accounts follow
//! the tree. In the name of a slice `-` means "below", so ids are escaped: `acs-notify\x2dalarm.slice` is below
//! `acs.slice`, not below `acs-notify.slice`.

use super::names;
use super::{Options, Section, Unit};
use crate::tree::Plan;

/// The slice of a supervisor.
pub fn name(path: &str, options: &Options) -> String {
    let prefix = options.prefix.trim_matches('-');
    let ids = path.split('/').map(names::escaped);
    let parts: Vec<String> = (!prefix.is_empty()).then(|| prefix.to_owned()).into_iter().chain(ids).collect();
    format!("{}.slice", parts.join("-"))
}

/// The slice a worker belongs to: that of its supervisor.
pub fn of_worker(path: &str, options: &Options) -> String {
    name(path.rsplit_once('/').map_or(path, |(supervisor, _)| supervisor), options)
}

/// A slice for the tree and for each of its supervisors.
pub fn units(plan: &Plan, options: &Options) -> Vec<Unit> {
    let unit = |path: &str, description: Option<&String>| {
        let mut unit = Unit::new(name(path, options), path);
        let text = description.map_or_else(|| path.to_owned(), |text| format!("{path}: {text}"));
        unit.set(
            Section::Unit,
            "Description",
            super::escape::text(&text),
            "description",
            "What people read.",
        );
        let source = &options.source;
        if source.is_absolute() {
            let source = super::escape::specifiers(&source.display().to_string());
            unit.set(
                Section::Unit,
                "SourcePath",
                source,
                "",
                "systemd names the tree file when it has changed.",
            );
        }
        unit
    };
    plan.supervisors
        .iter()
        .map(|supervisor| unit(&supervisor.path, supervisor.description.as_ref()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::tests::options;

    #[test]
    fn in_slices_a_dash_means_below() {
        let options = options();
        assert_eq!(name("t", &options), "t.slice");
        assert_eq!(of_worker("t/a-b/c", &options), "t-a\\x2db.slice");
        let options = Options { prefix: "acs-".to_owned(), ..options };
        assert_eq!(name("t/a", &options), "acs-t-a.slice");
    }
}
