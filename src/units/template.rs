//! Templates: one text for many instances of a tree, or of a worker.
//!
//! **Instance numbers.** A tree with a variable `instance` is rendered for each of its values, each unit under the name
//! of its instance (`acs-naming@3.service`, and so do all that name it). Then the texts are laid side by side: where
//! they differ by exactly the value there is `%i` (ports 3001, 3101, 3201: `3%i01`). Nothing is believed: put in, each
//! value has to give its own text back, to the letter. A value for which it does not keeps a unit of its own with its
//! own text, which goes before the template (`acs-container@0.service`, whose ports begin at 4000), and is reported.
//!
//! **Arguments.** The worker of a `simple_one_for_one` supervisor is a template whose `${arg.x}` is the instance:
//! `systemctl start pool-w@$(systemd-escape VALUE)`. It is `%I`, the name without its escapes. systemd has one name and
//! no more, so a worker with several arguments deviates.
//!
//! Slices are shared by all instances: systemd has no templates of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deviates, Deviation, Line, Rendering, Unit};
use crate::tree::{WorkerPlan, instantiate};

/// Stands for the argument of a template while its unit is written; no text for people has it.
const ARGUMENT: char = '\u{f8ff}';
/// Where anchors keep their counts and marks, below the directory of run time.
const STATES: &str = "woodward-units/";
/// Keys whose commands are the user's own words, in which no name of a unit is looked for.
const OWN_WORDS: &[&str] = &[
    "command",
    "before_start",
    "after_ready",
    "after_stop",
    "stop.command",
    "reload.command",
    "environment",
    "ready.exec",
    "health.exec",
    "description",
];
/// Keys of systemd in which `%i` is replaced.
const SPECIFIERS: &[&str] = &[
    "After",
    "Before",
    "BindsTo",
    "ConditionPathExists",
    "Description",
    "Documentation",
    "Environment",
    "EnvironmentFile",
    "ExecReload",
    "ExecSearchPath",
    "ExecStart",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "FileDescriptorName",
    "Group",
    "ListenDatagram",
    "ListenStream",
    "LogExtraFields",
    "OnFailure",
    "OnSuccess",
    "PartOf",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "Requires",
    "RuntimeDirectory",
    "Service",
    "Slice",
    "Sockets",
    "SourcePath",
    "StandardOutput",
    "StopPropagatedFrom",
    "SupplementaryGroups",
    "SyslogIdentifier",
    "Unit",
    "Upholds",
    "User",
    "Wants",
    "WorkingDirectory",
];

/// What became of the renderings of a tree for all values of a variable.
#[derive(Clone, Debug, Default)]
pub struct Instances {
    /// Templates, units of values that fit none, slices.
    pub rendering: Rendering,
    /// What did not fit, in the order of the units.
    pub misfits: Vec<Misfit>,
}

/// A unit of one value that its template does not give.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    /// The unit that was written for it.
    pub unit: String,
    /// Path of the child.
    pub path: String,
    /// systemd's word of the first line that differs; empty: it is no single line.
    pub key: &'static str,
    /// Its value there, or what else it is.
    pub value: String,
}

/// Values of `--template NAME=VALUES`: `0..9` (both of them too) or `a,b,c`.
pub fn values(text: &str) -> Result<Vec<String>, String> {
    let values: Vec<String> = match text.split_once("..") {
        Some((first, last)) => match (first.parse::<u32>(), last.trim_start_matches('=').parse::<u32>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < 1000 => {
                (first..=last).map(|number| number.to_string()).collect()
            }
            _ => return Err(format!("\"{text}\" is no range of at most 1000 numbers such as 0..9")),
        },
        None => text.split(',').map(str::to_owned).collect(),
    };
    let fits = |value: &String| {
        !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:".contains(&b))
    };
    let different = values.iter().collect::<BTreeSet<_>>().len() == values.len();
    if values.len() < 2 || !different || !values.iter().all(fits) {
        return Err(format!("\"{text}\": two different values at least, of letters, digits and _ . :"));
    }
    Ok(values)
}

/// Makes templates out of the renderings of a tree, one for each value.
pub fn instances(renderings: &[(String, Rendering)]) -> Instances {
    let mut all = Instances::default();
    let Some((_, first)) = renderings.first() else { return all };
    let instanced: Vec<(&str, BTreeMap<String, Unit>)> =
        renderings.iter().map(|(value, rendering)| (value.as_str(), instanced(value, rendering))).collect();
    let mut names: Vec<(String, &Unit)> = Vec::new();
    for unit in renderings.iter().flat_map(|(_, rendering)| &rendering.units) {
        if !names.iter().any(|(name, _)| *name == unit.name) {
            names.push((unit.name.clone(), unit));
        }
    }
    for (name, example) in names {
        if name.ends_with(".slice") {
            all.rendering.units.push(shared(&name, example, renderings));
            continue;
        }
        let of_values: Vec<(&str, &Unit)> =
            instanced.iter().filter_map(|(value, units)| Some((*value, units.get(&name)?))).collect();
        one(&name, &of_values, &mut all);
    }
    all.rendering.choices.clone_from(&first.choices);
    for deviates in renderings.iter().flat_map(|(_, rendering)| &rendering.deviations) {
        let same = |known: &Deviates| known.path == deviates.path && known.deviation == deviates.deviation;
        if !all.rendering.deviations.iter().any(same) {
            all.rendering.deviations.push(deviates.clone());
        }
    }
    all
}

/// A template for one unit and concrete ones for values it does not give.
fn one(name: &str, of_values: &[(&str, &Unit)], all: &mut Instances) {
    if let Some((_, unit)) = of_values.first().filter(|_| name.contains('@')) {
        let value = "is left out: its instances have arguments, and cannot be those of a tree too".to_owned();
        all.misfits.push(Misfit { unit: name.to_owned(), path: unit.path.clone(), key: "", value });
        return;
    }
    let shape = |unit: &Unit| unit.lines.iter().map(|line| (line.section, line.key)).collect::<Vec<_>>();
    let mut shapes: Vec<(Vec<_>, usize)> = Vec::new();
    for (_, unit) in of_values {
        let shape = shape(unit);
        match shapes.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, count)) => *count += 1,
            None => shapes.push((shape, 1)),
        }
    }
    let Some((most, _)) = shapes.iter().rev().max_by_key(|(_, count)| *count) else { return };
    let alike: Vec<(&str, &Unit)> =
        of_values.iter().filter(|(_, unit)| shape(unit) == *most).copied().collect();
    let mut lines: Vec<Line> = Vec::new();
    let mut misfit: BTreeMap<&str, &'static str> = BTreeMap::new();
    for at in 0..most.len() {
        let texts: Vec<(&str, &str)> =
            alike.iter().map(|(value, unit)| (*value, unit.lines[at].value.as_str())).collect();
        let mut line = alike[0].1.lines[at].clone();
        line.value = common(&texts, SPECIFIERS.contains(&line.key));
        for (value, text) in &texts {
            if with(&line.value, value) != *text {
                misfit.entry(value).or_insert(line.key);
            }
        }
        lines.push(line);
    }
    let by_template =
        |value: &str| alike.iter().any(|(known, _)| *known == value) && !misfit.contains_key(value);
    if of_values.iter().any(|(value, _)| by_template(value)) {
        let mut template = Unit::new(at_instance(name, ""), of_values[0].1.path.clone());
        template.lines = lines;
        all.rendering.units.push(template);
    }
    for (value, unit) in of_values.iter().filter(|(value, _)| !by_template(value)) {
        all.rendering.units.push((*unit).clone());
        let key = misfit.get(value).copied().unwrap_or_default();
        let line = unit.lines.iter().find(|line| line.key == key).map(|line| line.value.clone());
        let (unit, path) = (unit.name.clone(), unit.path.clone());
        let value = line.unwrap_or_else(|| "has other lines".to_owned());
        all.misfits.push(Misfit { unit, path, key, value });
    }
}

/// A slice with the lines that it has for all values.
fn shared(name: &str, example: &Unit, renderings: &[(String, Rendering)]) -> Unit {
    let mut unit = example.clone();
    unit.lines.retain(|line| {
        renderings.iter().all(|(_, rendering)| {
            let same = rendering.units.iter().find(|unit| unit.name == name);
            same.is_none_or(|unit| unit.lines.contains(line))
        })
    });
    unit
}

/// The units of one value, by their plain names: names of units everywhere are those of the instance, and so are the
/// directories of anchors.
fn instanced(value: &str, rendering: &Rendering) -> BTreeMap<String, Unit> {
    let names: BTreeMap<String, String> = rendering
        .units
        .iter()
        .filter(|unit| !unit.name.ends_with(".slice"))
        .flat_map(|unit| {
            let (old, new) = (&unit.name, at_instance(&unit.name, value));
            let quoted = |name: &str| name.replace('\\', "\\\\");
            [(quoted(old), quoted(&new)), (old.clone(), new)]
        })
        .collect();
    let convert = |unit: &Unit| {
        let mut new = unit.clone();
        new.name = at_instance(&unit.name, value);
        for line in &mut new.lines {
            let own = OWN_WORDS.contains(&line.why.key);
            line.value = renamed(&line.value, value, if own { None } else { Some(&names) });
        }
        (unit.name.clone(), new)
    };
    rendering.units.iter().map(convert).collect()
}

/// `a.service` of an instance: `a@VALUE.service`; a template has it in front of its own: `a@VALUE.service` too.
fn at_instance(name: &str, value: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, _)) if stem.contains('@') || name.ends_with(".slice") => name.to_owned(),
        Some((stem, ending)) => format!("{stem}@{value}.{ending}"),
        None => name.to_owned(),
    }
}

/// Names of units, and of directories of anchors, with the instance in them.
fn renamed(text: &str, value: &str, names: Option<&BTreeMap<String, String>>) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || ":_.\\@+-".contains(c);
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        if out.ends_with(STATES) && !word.is_empty() {
            out.push_str(&format!("{word}@{value}"));
        } else {
            out.push_str(names.and_then(|names| names.get(word)).map_or(word, String::as_str));
        }
        let other = behind.find(part).unwrap_or(behind.len());
        out.push_str(&behind[..other]);
        rest = &behind[other..];
    }
    out
}

/// The text with `%i` in it that gives most of these texts back.
fn common(texts: &[(&str, &str)], specifiers: bool) -> String {
    let Some((_, first)) = texts.first() else { return String::new() };
    let fitting =
        |candidate: &str| texts.iter().filter(|(value, text)| with(candidate, value) == *text).count();
    let mut best = ((*first).to_owned(), fitting(first));
    let mut consider = |candidate: String| {
        let count = fitting(&candidate);
        if count > best.1 {
            best = (candidate, count);
        }
        best.1 == texts.len()
    };
    for (n, (value, text)) in texts.iter().enumerate() {
        if consider((*text).to_owned()) {
            break;
        }
        // Two neighbours tell as much as any two; one pair more for a value that stands alone.
        for (other, second) in texts[n + 1..].iter().take(2).filter(|_| specifiers) {
            if let Some(candidate) = aligned((value, text), (other, second))
                && consider(candidate)
            {
                return best.0;
            }
        }
    }
    best.0
}

/// The text that gives both: equal characters stay, and where they differ there is the value.
fn aligned((a, x): (&str, &str), (b, y): (&str, &str)) -> Option<String> {
    let (mut i, mut j) = (0, 0);
    let mut out = String::new();
    // Where the value could have stood though the characters are equal: the last such place is tried again.
    let mut choices: Vec<(usize, usize, usize)> = Vec::new();
    let mut steps = 0_usize;
    loop {
        steps += 1;
        if steps > 4 * (x.len() + y.len()) + 64 {
            return None;
        }
        if i == x.len() && j == y.len() {
            return Some(out);
        }
        let both = x[i..].starts_with(a) && y[j..].starts_with(b);
        let (c, d) = (x[i..].chars().next(), y[j..].chars().next());
        if c == d && c.is_some() {
            if both {
                choices.push((i, j, out.len()));
            }
            let c = c.unwrap_or_default();
            (i, j) = (i + c.len_utf8(), j + c.len_utf8());
            out.push(c);
        } else if both {
            (i, j) = (i + a.len(), j + b.len());
            out.push_str("%i");
        } else {
            let (back_i, back_j, length) = choices.pop()?;
            (i, j) = (back_i + a.len(), back_j + b.len());
            out.truncate(length);
            out.push_str("%i");
        }
    }
}

/// A text as systemd reads it for an instance, as far as `%i` goes.
fn with(text: &str, value: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let behind = &rest[at..];
        if let Some(behind) = behind.strip_prefix("%i") {
            out.push_str(value);
            rest = behind;
        } else {
            let length = behind.chars().take(2).map(char::len_utf8).sum();
            out.push_str(&behind[..length]);
            rest = &behind[length..];
        }
    }
    out + rest
}

/// A template of `simple_one_for_one` as it is written: its argument is the name of the instance.
pub fn argument(plan: &WorkerPlan, deviations: &mut Vec<Deviates>) -> WorkerPlan {
    let mut args: Vec<(String, String)> = Vec::new();
    // What is missing is said one at a time.
    loop {
        match instantiate(plan, &args) {
            Ok(instance) => {
                if args.len() > 1 {
                    let names: Vec<&str> = args.iter().map(|(name, _)| name.as_str()).collect();
                    deviations.push(Deviates {
                        deviation: Deviation::OneArgument,
                        path: plan.path.clone(),
                        text: format!("{} would all be the name of the instance", names.join(", ")),
                    });
                }
                return instance;
            }
            Err(message) => {
                let name = message.split('`').nth(1).unwrap_or_default().to_owned();
                if name.is_empty() || args.iter().any(|(known, _)| *known == name) {
                    return plan.clone();
                }
                args.push((name, ARGUMENT.to_string()));
            }
        }
    }
}

/// Puts the name of the instance where its argument stands.
pub fn fill(unit: &mut Unit) {
    for line in &mut unit.lines {
        if line.value.contains(ARGUMENT) {
            line.value = line.value.replace(ARGUMENT, "%I");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Section;
    use super::*;

    fn rendering(value: u32, base: u32) -> Rendering {
        let mut a = Unit::new("t-a.service", "t/a");
        let port = base + 100 * value + 1;
        a.set(Section::Unit, "After", "t.service t-b\\x2dc.service", "", "");
        a.set(Section::Service, "ExecStart", format!("a -p {port} %%i t.service"), "command", "");
        a.set(Section::Service, "RuntimeDirectory", "woodward-units/t-a", "", "");
        let root = Unit::new("t.service", "t");
        let other = Unit::new("t-b\\x2dc.service", "t/b-c");
        let slice = Unit::new("t.slice", "t");
        Rendering { units: vec![root, a, other, slice], ..Rendering::default() }
    }

    fn of(all: &Instances, name: &str) -> String {
        all.rendering.units.iter().find(|unit| unit.name == name).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn ports_by_rule_become_a_template() {
        let renderings: Vec<_> = (0..10).map(|n| (n.to_string(), rendering(n, 3000))).collect();
        let all = instances(&renderings);
        assert_eq!(all.misfits, []);
        let names: Vec<&str> = all.rendering.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["t@.service", "t-a@.service", "t-b\\x2dc@.service", "t.slice"]);
        assert_eq!(
            of(&all, "t-a@.service"),
            "[Unit]\nAfter=t@%i.service t-b\\x2dc@%i.service\n\n[Service]\nExecStart=a -p 3%i01 %%i t.service\n\
             RuntimeDirectory=woodward-units/t-a@%i\n"
        );
    }

    #[test]
    fn a_value_that_does_not_fit_keeps_a_unit_of_its_own() {
        let base = |n| if n == 0 { 4000 } else { 3000 };
        let renderings: Vec<_> = (0..10).map(|n| (n.to_string(), rendering(n, base(n)))).collect();
        let all = instances(&renderings);
        let misfit = Misfit {
            unit: "t-a@0.service".to_owned(),
            path: "t/a".to_owned(),
            key: "ExecStart",
            value: "a -p 4001 %%i t.service".to_owned(),
        };
        assert_eq!(all.misfits, [misfit]);
        assert!(of(&all, "t-a@0.service").contains("After=t@0.service"));
        assert!(of(&all, "t-a@.service").contains("3%i01"));
    }

    #[test]
    fn numbers_with_two_digits_fit_only_where_the_text_does() {
        let renderings: Vec<_> = (8..12).map(|n| (n.to_string(), rendering(n, 3000))).collect();
        let all = instances(&renderings);
        let misfits: Vec<&str> = all.misfits.iter().map(|misfit| misfit.unit.as_str()).collect();
        assert_eq!(misfits, ["t-a@10.service", "t-a@11.service"]);
    }

    #[test]
    fn every_value_gives_its_own_text_back() {
        for (a, x, b, y) in [
            ("0", "p0 30001 0", "1", "p0 30101 1"),
            ("10", "/run/10/x1", "11", "/run/11/x1"),
            ("1", "x1y", "10", "x10y"),
            ("a", "", "b", ""),
        ] {
            let text = aligned((a, x), (b, y)).unwrap_or_default();
            assert_eq!((with(&text, a).as_str(), with(&text, b).as_str()), (x, y), "{text}");
        }
        assert_eq!(aligned(("0", "x5"), ("1", "x6")), None);
    }

    #[test]
    fn values_are_ranges_or_lists() {
        assert_eq!(values("8..10").unwrap(), ["8", "9", "10"]);
        assert_eq!(values("a,b").unwrap(), ["a", "b"]);
        for text in ["", "1", "1..0", "a,a", "a/b,c", "0..x"] {
            assert!(values(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_argument_of_a_template_is_its_instance() {
        let plan = WorkerPlan {
            path: "t/w".to_owned(),
            command: vec!["w".to_owned(), "--id=${arg.id}".to_owned()],
            ..WorkerPlan::default()
        };
        let mut deviations = Vec::new();
        let instance = argument(&plan, &mut deviations);
        let mut unit = Unit::new("t-w@.service", "t/w");
        unit.set(Section::Service, "ExecStart", super::super::escape::command("", &instance.command), "", "");
        fill(&mut unit);
        assert_eq!(unit.values(Section::Service, "ExecStart").collect::<Vec<_>>(), ["w \"--id=%I\""]);
        assert_eq!(deviations, []);
        let two = WorkerPlan { command: vec!["${arg.a}${arg.b}".to_owned()], ..plan };
        argument(&two, &mut deviations);
        assert_eq!(deviations.len(), 1);
    }
}
