//! From merged tables to planned children: includes, `each`, `only`, `enabled`, inheritance, order of siblings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use woodward_engine::event::Key;
use woodward_engine::spec::{self, Children, Kind};

use super::decode::{self, At};
use super::diagnostic::Report;
use super::environment::{Environments, Says};
use super::keys;
use super::layers;
use super::plan::{LeftOut, SupervisorPlan, WorkerPlan};
use super::said::{self, Said};
use super::settings::{Settings, Typed};
use super::source::Span;
use super::value::{Data, Table, Value};
use super::variables::{Context, Datum, Item, Mode, Origin, Variable, Variables};
use super::{advice, each, hints, rules, sockets, supervisor, worker};

/// More children than this are a mistake in an `each`.
pub const MOST_CHILDREN: usize = 100_000;

/// One reading of one tree.
pub struct Reader {
    /// Variables and the report.
    pub vars: Variables,
    /// Environment files.
    pub environments: Environments,
    /// The plan's workers so far.
    pub workers: Vec<WorkerPlan>,
    /// Its supervisors.
    pub supervisors: Vec<SupervisorPlan>,
    /// Its children that are not planned.
    pub left_out: Vec<LeftOut>,
    /// Which key got which value where, for `plan PATH`; `None`: nobody wants to know.
    pub said: Option<Vec<Said>>,
    /// Who listens where, and where that is said.
    pub sockets: Vec<sockets::Taken>,
    /// Names in `after` that are no siblings; looked for elsewhere in the tree at the end.
    pub strangers: Vec<rules::Stranger>,
    /// woodward's own environment.
    pub own_environment: BTreeMap<String, String>,
    including: Vec<PathBuf>,
    children: usize,
}

/// What holds at a place of the tree for everything below it.
#[derive(Clone)]
pub struct Level {
    /// Path of the supervisor.
    pub path: String,
    /// Enclosing items.
    pub items: Vec<Item>,
    /// Worker keys that are inherited.
    pub defaults: Table,
    /// Environments from the root down.
    pub environments: Vec<Says>,
    /// `semantics = "otp"`.
    pub otp: bool,
}

/// A planned child with the places that rules about siblings talk of.
pub struct Made {
    /// For the engine.
    pub child: spec::Child,
    /// Full path.
    pub path: String,
    /// Where its id stands.
    pub span: Span,
    /// What it is after, and where that is said.
    pub after: Vec<(String, Span)>,
}

/// A child table with the items it is made for.
struct Occurrence {
    table: Table,
    items: Vec<Item>,
    id: String,
    id_span: Span,
}

impl Reader {
    /// A reading that has not begun.
    pub fn new(vars: Variables, own_environment: BTreeMap<String, String>) -> Reader {
        Reader {
            vars,
            own_environment,
            environments: Environments::default(),
            workers: Vec::new(),
            supervisors: Vec::new(),
            left_out: Vec::new(),
            said: None,
            sockets: Vec::new(),
            strangers: Vec::new(),
            including: Vec::new(),
            children: 0,
        }
    }

    /// What is wrong so far.
    pub fn report(&mut self) -> &mut Report {
        &mut self.vars.report
    }

    /// A supervisor with everything below it. `written` has no `include` any more.
    pub fn supervisor(&mut self, written: &Table, settings: &Settings, level: &Level) -> spec::Supervisor {
        let mut inner = level.clone();
        if let Some(defaults) = written.get("defaults").and_then(Value::table) {
            layers::merge(&mut inner.defaults, defaults.clone());
        }
        inner.environments.push(Says::of(written));
        inner.otp = settings.word("semantics").map_or(level.otp, |word| word == "otp");
        let path = level.path.clone();
        self.supervisors
            .push(SupervisorPlan { path: path.clone(), description: settings.text("description") });

        let template = written.get("template").and_then(Value::table);
        let mut spec = supervisor::spec(&mut self.vars, written, settings, inner.otp, &path);
        if let Some(template) = template {
            if let Some(child) = self.template(template, &inner) {
                spec.children = Children::Template(Box::new(child));
            }
            return spec;
        }
        let mut made = self.children(written, &inner);
        rules::siblings(self, &spec, &path, &mut made);
        advice::supervisor(&mut self.vars.report, written, settings, &spec, &made, &inner);
        spec.children = Children::List(made.into_iter().map(|made| made.child).collect());
        spec
    }

    fn template(&mut self, table: &Table, level: &Level) -> Option<spec::Child> {
        let context = Context { items: &level.items, me: None, mode: Mode::Replace };
        let (id, _) = self.id_of(table, &context, &level.path)?;
        Some(worker::worker(self, table, &id, level, Mode::Template).0)
    }

    /// The planned children of a supervisor.
    fn children(&mut self, written: &Table, level: &Level) -> Vec<Made> {
        let mut overlays: Vec<(&Table, bool)> = written.overlays.iter().map(|table| (table, false)).collect();
        let mut occurrences = Vec::new();
        for child in written.tables("child") {
            for mut occurrence in self.occurrences(child, level) {
                for (overlay, used) in
                    overlays.iter_mut().filter(|(table, _)| table.text("id") == Some(&occurrence.id))
                {
                    layers::merge(&mut occurrence.table, (*overlay).clone());
                    *used = true;
                }
                occurrences.push(occurrence);
            }
        }
        for (overlay, _) in overlays.iter().filter(|(_, used)| !used) {
            occurrences.extend(self.occurrences(overlay, level));
        }
        let mut ids = BTreeMap::new();
        let mut made = Vec::new();
        for occurrence in occurrences {
            let path = format!("{}/{}", level.path, occurrence.id);
            if let Some(first) = ids.insert(occurrence.id.clone(), occurrence.id_span) {
                let line = self.report().sources.place(first).line;
                let hint = (first == occurrence.id_span)
                    .then(|| "`id` does not differ from item to item".to_owned());
                self.report()
                    .error(
                        occurrence.id_span,
                        format!("two children are called {path}; the other one is in line {line}"),
                    )
                    .maybe_hint(hint);
                continue;
            }
            if let Some(reason) = self.left_out(&occurrence, &path) {
                self.left_out.push(LeftOut { path, reason });
                continue;
            }
            self.children += 1;
            made.extend(self.child(occurrence, path, level));
        }
        made
    }

    fn child(&mut self, occurrence: Occurrence, path: String, level: &Level) -> Option<Made> {
        let mut level = Level { items: occurrence.items, ..level.clone() };
        let id = occurrence.id;
        let made = |child, after| Made { child, path: path.clone(), span: occurrence.id_span, after };
        if rules::is_worker(&occurrence.table) {
            let (child, after) = worker::worker(self, &occurrence.table, &id, &level, Mode::Replace);
            return Some(made(child, after));
        }
        level.path = path.clone();
        let table = self.included(occurrence.table, &level)?;
        let context = Context { items: &level.items, me: Some((&id, &path)), mode: Mode::Replace };
        let at = At { keys: keys::AT_INNER, name: &path, around: None };
        let settings = decode::table(&mut self.vars, &table, at, &context);
        said::say(self, &path, &settings, keys::AT_INNER, level.otp);
        let mut child = supervisor::child(&id, &settings);
        let after = worker::after_of(&mut self.vars, &table, &context);
        child.kind = Kind::Supervisor(self.supervisor(&table, &settings, &level));
        if table.has("include") {
            self.including.pop();
        }
        Some(made(child, after))
    }

    /// The included tree below the keys that stand beside `include`.
    fn included(&mut self, written: Table, level: &Level) -> Option<Table> {
        let Some(include) = written.get("include").cloned() else { return Some(written) };
        let context = Context { items: &level.items, me: None, mode: Mode::Replace };
        let Data::Text(name) = &include.data else { return None };
        let name = self.vars.text(include.span, name, &context)?;
        let path = self.vars.report.sources.file(include.span.file).dir.join(&name);
        let path = self.vars.moved.as_ref().map_or_else(|| path.clone(), |moved| moved.now(&path));
        let path = self.vars.files.itself(&path);
        if self.including.contains(&path) {
            self.report().error(include.span, format!("{name} includes itself"));
            return None;
        }
        let scope = self.vars.scope();
        let shown = relative(&path);
        let mut tree = layers::read_tree(&mut self.vars, &shown, scope, Some(include.span))?;
        self.including.push(path);
        rules::shape(&mut self.vars, &tree, keys::AT_ROOT, &level.path);
        self.declare(scope, &tree);
        for entry in
            written.get("vars").and_then(Value::table).map(|vars| &vars.entries).into_iter().flatten()
        {
            if !self.vars.names(scope).contains(&entry.key) {
                let names = self.vars.names(scope);
                let hint = hints::nearest(&entry.key, names.iter().map(String::as_str));
                let hint = hint.map(|name| format!("did you mean `{name}`?"));
                let message = format!("{name} has no variable `{}`", entry.key);
                self.report().error(entry.key_span, message).maybe_hint(hint);
            }
            if let Some(datum) = self.vars.datum_in(&entry.value, &context) {
                let origin = Origin::File(entry.value.span);
                self.vars.set(scope, &entry.key, Variable { datum, origin });
            }
        }
        self.vars.compute(scope);
        for gone in ["id", "exhausted", "failover", "vars"] {
            tree.take(gone);
        }
        let mut beside = written;
        beside.take("vars");
        layers::merge(&mut tree, beside);
        Some(tree)
    }

    /// Declares the `[vars]` of a file in its scope.
    pub fn declare(&mut self, scope: usize, tree: &Table) {
        let Some(table) = tree.get("vars").and_then(Value::table) else { return };
        decode::below_a_table(&mut self.vars, table, keys::AT_ROOT);
        for entry in &table.entries {
            if let Err(message) = each::check_name(&entry.key) {
                self.report().error(entry.key_span, message).allowed("a-z, 0-9, _; a letter first");
            }
            self.vars.declare(scope, &entry.key, entry.value.clone());
        }
    }

    /// One child for each item of its `each`, or one.
    fn occurrences(&mut self, table: &Table, level: &Level) -> Vec<Occurrence> {
        let items = match table.entry("each") {
            None => vec![level.items.clone()],
            Some(each) => {
                let each = each.value.clone();
                each::items(&mut self.vars, &each, table, level)
            }
        };
        let mut occurrences = Vec::new();
        for items in items {
            if self.children + occurrences.len() > MOST_CHILDREN {
                self.report().error(table.span, format!("more than {MOST_CHILDREN} children"));
                break;
            }
            let context = Context { items: &items, me: None, mode: Mode::Replace };
            if let Some((id, id_span)) = self.id_of(table, &context, &level.path) {
                occurrences.push(Occurrence { table: table.clone(), items, id, id_span });
            }
        }
        occurrences
    }

    fn id_of(&mut self, table: &Table, context: &Context<'_>, parent: &str) -> Option<(String, Span)> {
        let Some(value) = table.get("id") else {
            self.report().error(table.span, format!("a child of {parent} has no `id`"));
            return None;
        };
        let key = keys::find(keys::AT_WORKER, "id")?;
        let at = At { keys: keys::AT_WORKER, name: parent, around: None };
        match decode::value(&mut self.vars, key, value, at, context)? {
            Typed::Text(id) => Some((id, value.span)),
            _ => None,
        }
    }

    /// Why a child is not planned.
    fn left_out(&mut self, occurrence: &Occurrence, path: &str) -> Option<String> {
        let me = Some((occurrence.id.as_str(), path));
        let context = Context { items: &occurrence.items, me, mode: Mode::Replace };
        if let Some(value) = occurrence.table.get("enabled") {
            let at = At { keys: keys::AT_WORKER, name: path, around: None };
            let key = keys::find(keys::AT_WORKER, "enabled")?;
            if decode::value(&mut self.vars, key, value, at, &context) == Some(Typed::Boolean(false)) {
                return Some("enabled = false".to_owned());
            }
        }
        let only = occurrence.table.get("only")?;
        let Some(table) = only.table() else {
            self.report().error(only.span, "`only` wants a table of variables and values");
            return None;
        };
        rules::conditions(table, "")
            .into_iter()
            .find_map(|(name, span, wanted)| self.differs(&name, span, wanted, &context))
    }

    /// `name = value` if the variable has none of the wanted values.
    fn differs(&mut self, name: &str, span: Span, wanted: &Value, context: &Context<'_>) -> Option<String> {
        let actual = self.vars.replace(span, &format!("${{{name}}}"), context)?;
        let wanted: Vec<Datum> = match &wanted.data {
            Data::List(list) => list.iter().filter_map(|value| self.vars.datum_in(value, context)).collect(),
            _ => self.vars.datum_in(wanted, context).into_iter().collect(),
        };
        let fits = wanted.iter().any(|wanted| wanted.to_string() == actual.to_string());
        (!fits).then(|| format!("{name} = {actual:#}"))
    }

    /// Takes a worker into the plan.
    pub fn add_worker(&mut self, plan: WorkerPlan) -> Key {
        self.workers.push(plan);
        Key(u32::try_from(self.workers.len() - 1).unwrap_or(u32::MAX))
    }
}

/// A path as people are shown it: from the working directory if it is below it.
pub fn relative(path: &std::path::Path) -> PathBuf {
    let here = std::env::current_dir().and_then(std::fs::canonicalize).ok();
    here.and_then(|here| path.strip_prefix(here).map(PathBuf::from).ok())
        .unwrap_or_else(|| path.to_path_buf())
}
