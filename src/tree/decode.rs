//! From values as written to typed settings, driven by the tables of [`super::keys`]. Nothing stops at the first error.
//!
//! A table is decoded twice: as written, looking only at what is literally there (so that children which are left out
//! are checked too), and once per planned child, after inheritance, with variables replaced.

use woodward_engine::spec::Status;

use super::health;
use super::hints;
use super::keys::{self, Key, Keys, Kind, Support};
use super::settings::{Setting, Settings, Typed};
use super::sockets;
use super::source::Span;
use super::units;
use super::value::{Data, Table, Value};
use super::variables::{Context, Mode, Variables, quoted};
use super::words;

/// A place in a file whose keys are being decoded.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// What it takes.
    pub keys: Keys,
    /// Its name in messages: a path, or a path and a table.
    pub name: &'a str,
    /// The place around it, whose keys may stand here by mistake.
    pub around: Option<Keys>,
}

/// Decodes a table.
pub fn table(vars: &mut Variables, table: &Table, at: At<'_>, context: &Context<'_>) -> Settings {
    let mut settings = Settings::default();
    for entry in &table.entries {
        let Some(key) = keys::find(at.keys, &entry.key) else {
            unknown(vars, table, &entry.key, entry.key_span, at);
            continue;
        };
        if key.support == Support::Later {
            let message = format!("this build cannot honour `{}`: it comes with a later woodward", key.name);
            vars.report.error(entry.key_span, message);
            continue;
        }
        if let Some(typed) = value(vars, key, &entry.value, at, context) {
            settings.all.push(Setting { key: key.name, typed, span: entry.value.span });
        }
    }
    settings
}

fn unknown(vars: &mut Variables, table: &Table, written: &str, span: Span, at: At<'_>) {
    let header = vars.report.sources.text(table.span).starts_with('[');
    let outside = header && at.around.is_some_and(|keys| keys::find(keys, written).is_some());
    let never = at.name.starts_with("[defaults]")
        && [keys::SUPERVISOR, keys::WORKER, keys::CHILD]
            .iter()
            .any(|group| group.iter().any(|key| key.name == written));
    let hint = if outside {
        Some(format!("it stands below {}: move it above", vars.report.sources.text(table.span)))
    } else if never {
        Some("it is never inherited".to_owned())
    } else {
        hints::key(written, keys::names(at.keys)).map(|name| format!("did you mean `{name}`?"))
    };
    vars.report.error(span, format!("unknown key `{written}`")).maybe_hint(hint).within(at.name);
}

/// Decodes one value. `None`: reported, or not to be looked at in this mode, or read elsewhere.
pub fn value(
    vars: &mut Variables,
    key: &Key,
    value: &Value,
    at: At<'_>,
    context: &Context<'_>,
) -> Option<Typed> {
    let mut decoder = Decoder { vars, key, value, context };
    match key.kind {
        Kind::Children
        | Kind::Defaults
        | Kind::Template
        | Kind::Each
        | Kind::Only
        | Kind::Vars
        | Kind::Unread => None,
        Kind::Table(_) if matches!(value.data, Data::Boolean(false)) => Some(Typed::Off),
        Kind::Table(keys) => decoder.table(value, keys, at).map(Typed::Table),
        Kind::Tables(_) if matches!(value.data, Data::Boolean(false)) => Some(Typed::Off),
        Kind::Tables(keys) => decoder.tables(keys, at),
        Kind::TableOrTables(_) if matches!(value.data, Data::Boolean(false)) => Some(Typed::Off),
        Kind::TableOrTables(keys) if value.list().is_some() => decoder.tables(keys, at),
        Kind::TableOrTables(keys) => decoder.table(value, keys, at).map(|one| Typed::Tables(vec![one])),
        Kind::ChoiceOrTable(_, keys) if value.table().is_some() => {
            decoder.table(value, keys, at).map(Typed::Table)
        }
        Kind::ChoiceOrTable(words, _) | Kind::Choice(words) => decoder.choice(words),
        Kind::Environment => decoder.environment(at),
        Kind::Id => decoder.id(),
        Kind::Text | Kind::Path => decoder.text().map(Typed::Text),
        Kind::Boolean => decoder.boolean().map(Typed::Boolean),
        Kind::Yes => match decoder.boolean()? {
            true => Some(Typed::Boolean(true)),
            false => decoder.wrong("can only be true", "leave it out"),
        },
        Kind::Integer(least, most) => decoder.integer(least, most),
        Kind::Number(least, most) => decoder.number(least, most),
        Kind::Duration | Kind::Seconds | Kind::DurationOrInfinity | Kind::Shutdown => decoder.duration(),
        Kind::Size => decoder.read(units::size, "a size such as \"10M\"").map(Typed::Size),
        Kind::SizeOrInfinity | Kind::CountOrInfinity if value.text() == Some("infinity") => {
            Some(Typed::Infinity)
        }
        Kind::SizeOrInfinity => {
            decoder.read(units::size, "a size such as \"10M\", or \"infinity\"").map(Typed::Size)
        }
        Kind::CountOrInfinity => decoder.integer(1, 4 << 20),
        Kind::Percent => {
            decoder.read(units::percent, "a share such as \"50%\" or \"150%\"").map(Typed::Percent)
        }
        Kind::Share => decoder.read(units::share, "a share from \"0%\" to \"100%\"").map(Typed::Share),
        Kind::Octal => decoder.octal(),
        Kind::Signal => decoder.signal(),
        Kind::Statuses => decoder.statuses(),
        Kind::Account => decoder.account(),
        Kind::Rlimit => decoder.rlimit(),
        Kind::Strings => decoder.strings(false),
        Kind::Paths => decoder.strings(true),
        Kind::Command => decoder.command(value).map(Typed::Strings),
        Kind::Commands => decoder.commands(),
        Kind::Pass => match &value.data {
            Data::List(_) => decoder.strings(false),
            _ => decoder.boolean().map(Typed::Boolean),
        },
    }
}

struct Decoder<'d, 'c> {
    vars: &'d mut Variables,
    key: &'d Key,
    value: &'d Value,
    context: &'d Context<'c>,
}

impl Decoder<'_, '_> {
    /// Reports that the value does not fit.
    fn wrong<T>(&mut self, message: &str, hint: &str) -> Option<T> {
        let message = format!("`{}` {message}", self.key.name);
        let diagnostic = self.vars.report.error(self.value.span, message);
        if !hint.is_empty() {
            diagnostic.hint(hint);
        }
        None
    }

    /// Reports a value of another kind.
    fn wants<T>(&mut self, what: &str, hint: &str) -> Option<T> {
        let message = format!("wants {what}, not {}", self.value.kind());
        self.wrong(&message, hint)
    }

    fn text(&mut self) -> Option<String> {
        match &self.value.data {
            Data::Text(text) => self.vars.text(self.value.span, text, self.context),
            Data::Integer(number) => self.wants("a string", &format!("write \"{number}\"")),
            _ => self.wants("a string", ""),
        }
    }

    /// A string in a notation of its own.
    fn read<T>(&mut self, read: impl Fn(&str) -> Result<T, String>, what: &str) -> Option<T> {
        if self.value.text().is_none() {
            return self.wants(what, "");
        }
        let text = self.text()?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                let name = self.key.name;
                self.vars.report.error(self.value.span, format!("`{name}`: {message}")).allowed(what);
                None
            }
        }
    }

    fn id(&mut self) -> Option<Typed> {
        let id = self.text()?;
        if let Err(message) = check_id(&id) {
            let hint = id.contains('/').then(|| format!("write \"{}\"", id.replace('/', ":")));
            self.vars
                .report
                .error(self.value.span, message)
                .maybe_hint(hint)
                .allowed("letters, digits and _ . : @ -");
            return None;
        }
        Some(Typed::Text(id))
    }

    fn choice(&mut self, words: &'static [&'static str]) -> Option<Typed> {
        let written = match &self.value.data {
            Data::Text(_) => self.text()?,
            Data::Boolean(boolean) => boolean.to_string(),
            _ => return self.wants("a string", ""),
        };
        if let (Some(word), Data::Text(_)) =
            (words.iter().copied().find(|word| *word == written), &self.value.data)
        {
            return Some(Typed::Word(word));
        }
        let hint = hints::word(&written, words).map(|word| format!("did you mean \"{word}\"?"));
        let shown = if let Data::Text(_) = self.value.data { quoted(&written) } else { written };
        let message = format!("unknown {} {shown}", self.key.name);
        self.vars.report.error(self.value.span, message).maybe_hint(hint).allowed(words.join(", "));
        None
    }

    fn boolean(&mut self) -> Option<bool> {
        match &self.value.data {
            Data::Boolean(boolean) => Some(*boolean),
            Data::Text(text) if is_one_variable(text) => {
                let datum = self.vars.replace(self.value.span, text, self.context)?;
                match datum.boolean() {
                    Some(boolean) => Some(boolean),
                    None => self.wrong(&format!("wants true or false, and {text} is {datum:#}"), ""),
                }
            }
            _ => self.wants("true or false", ""),
        }
    }

    fn integer(&mut self, least: i64, most: i64) -> Option<Typed> {
        let number = self.any_integer("an integer")?;
        if (least..=most).contains(&number) {
            return Some(Typed::Integer(number));
        }
        let name = self.key.name;
        let message = format!("`{name}` cannot be {number}");
        self.vars.report.error(self.value.span, message).allowed(format!("{least} to {most}"));
        None
    }

    fn any_integer(&mut self, what: &str) -> Option<i64> {
        match &self.value.data {
            Data::Integer(number) => Some(*number),
            Data::Text(text) if is_one_variable(text) => {
                let datum = self.vars.replace(self.value.span, text, self.context)?;
                match datum.integer() {
                    Some(number) => Some(number),
                    None => self.wrong(&format!("wants {what}, and {text} is {datum:#}"), ""),
                }
            }
            Data::Text(text) if text.parse::<i64>().is_ok() => self.wants(what, &format!("write {text}")),
            _ => self.wants(what, ""),
        }
    }

    fn number(&mut self, least: f64, most: f64) -> Option<Typed> {
        let number = match self.value.data {
            Data::Float(number) => number,
            _ => self.any_integer("a number")? as f64,
        };
        if (least..=most).contains(&number) {
            return Some(Typed::Number(number));
        }
        let name = self.key.name;
        let message = format!("`{name}` cannot be {number}");
        self.vars.report.error(self.value.span, message).allowed(format!("{least} to {most}"));
        None
    }

    fn duration(&mut self) -> Option<Typed> {
        let kind = self.key.kind;
        let what = match kind {
            Kind::Seconds => "whole seconds, at least one, such as \"10s\", \"5m\"",
            Kind::DurationOrInfinity => "a duration such as \"250ms\", \"10s\", \"1m30s\", or \"infinity\"",
            Kind::Shutdown => "a duration such as \"10s\", or \"infinity\", \"brutal_kill\"",
            _ => "a duration such as \"250ms\", \"10s\", \"1m30s\"",
        };
        if let Data::Integer(number) = self.value.data {
            return self.wants("a duration", &format!("write \"{number}s\""));
        }
        if self.value.text().is_none() {
            return self.wants("a duration", "");
        }
        let text = self.text()?;
        match (text.as_str(), kind) {
            ("infinity", Kind::DurationOrInfinity | Kind::Shutdown) => return Some(Typed::Infinity),
            ("brutal_kill", Kind::Shutdown) => return Some(Typed::BrutalKill),
            _ => {}
        }
        match units::duration(&text) {
            Ok(duration)
                if matches!(kind, Kind::Seconds) && (duration.is_zero() || duration.subsec_millis() > 0) =>
            {
                let name = self.key.name;
                let message = format!("`{name}` cannot be \"{text}\": Erlang/OTP counts in whole seconds");
                self.vars.report.error(self.value.span, message).allowed(what);
                None
            }
            Ok(duration) => Some(Typed::Duration(duration)),
            Err(message) => {
                let seconds = text.parse::<u32>().is_ok().then(|| format!("write \"{text}s\""));
                let message = format!("`{}`: {message}", self.key.name);
                self.vars.report.error(self.value.span, message).maybe_hint(seconds).allowed(what);
                None
            }
        }
    }

    fn octal(&mut self) -> Option<Typed> {
        if let Data::Integer(number) = self.value.data {
            if self.vars.report.sources.text(self.value.span).starts_with("0o")
                && (0..=0o777).contains(&number)
            {
                return u32::try_from(number).ok().map(Typed::Mask);
            }
            return self.wants("an octal number in quotes", &format!("write \"{number:04}\""));
        }
        self.read(units::octal, "an octal number such as \"0022\"").map(Typed::Mask)
    }

    fn signal(&mut self) -> Option<Typed> {
        if self.value.text().is_none() {
            return self.wants("the name of a signal", "such as \"SIGTERM\"");
        }
        let text = self.text()?;
        self.signal_named(self.value.span, &text).map(Typed::Signal)
    }

    fn signal_named(&mut self, span: Span, text: &str) -> Option<i32> {
        match units::signal(text) {
            Ok(signal) => Some(signal),
            Err(message) => {
                let prefixed = format!("SIG{}", text.trim_start_matches("SIG").to_uppercase());
                let hint = hints::nearest(&prefixed, units::signal_names());
                let hint = hint.map(|name| format!("did you mean \"{name}\"?"));
                self.vars.report.error(span, message).maybe_hint(hint);
                None
            }
        }
    }

    fn statuses(&mut self) -> Option<Typed> {
        let Some(list) = self.value.list() else { return self.wants("a list of exit codes and signals", "") };
        let mut statuses = Vec::new();
        for element in list {
            let status = match &element.data {
                Data::Integer(number) => units::exit_code(*number),
                Data::Text(text) => {
                    let Some(text) = self.vars.text(element.span, text, self.context) else { continue };
                    match text.parse::<i64>() {
                        Ok(number) => units::exit_code(number),
                        Err(_) => match self.signal_named(element.span, &text) {
                            Some(signal) => Ok(Status::Signal(signal)),
                            None => continue,
                        },
                    }
                }
                _ => Err(format!("{} is no exit status", element.kind())),
            };
            match status {
                Ok(status) => statuses.push(status),
                Err(message) => {
                    self.vars.report.error(element.span, message).allowed("0 to 255, names of signals");
                }
            }
        }
        Some(Typed::Statuses(statuses))
    }

    fn account(&mut self) -> Option<Typed> {
        match self.value.data {
            Data::Integer(number) if (0..=i64::from(u32::MAX) - 1).contains(&number) => {
                Some(Typed::Text(number.to_string()))
            }
            Data::Text(_) => match self.text()? {
                text if text.is_empty() => self.wrong("is empty", ""),
                text => Some(Typed::Text(text)),
            },
            _ => self.wants("a name or a number", ""),
        }
    }

    fn rlimit(&mut self) -> Option<Typed> {
        if let Data::Integer(number) = self.value.data {
            return match u64::try_from(number) {
                Ok(number) => Some(Typed::Rlimit(number, number)),
                Err(_) => self.wrong("cannot be negative", "\"infinity\""),
            };
        }
        let what = "a number, a size such as \"10M\", \"infinity\", or \"soft:hard\"";
        self.read(units::rlimit, what).map(|(soft, hard)| Typed::Rlimit(soft, hard))
    }

    fn strings(&mut self, one: bool) -> Option<Typed> {
        match &self.value.data {
            Data::List(list) => self.vars.list(list, self.context).map(Typed::Strings),
            Data::Text(text) if one || is_one_variable(text) => {
                let datum = self.vars.replace(self.value.span, text, self.context)?;
                Some(Typed::Strings(datum.elements()))
            }
            Data::Text(text) => self.wants("a list of strings", &format!("write [{}]", quoted(text))),
            _ => self.wants("a list of strings", ""),
        }
    }

    fn command(&mut self, value: &Value) -> Option<Vec<String>> {
        let words = match &value.data {
            Data::List(list) => self.vars.list(list, self.context)?,
            Data::Text(text) => self.split(value.span, text)?,
            _ => return self.wants("a command: a string or a list of strings", ""),
        };
        match words.first() {
            Some(program) if !program.is_empty() => Some(words),
            _ => {
                let message = format!("`{}` names no program", self.key.name);
                self.vars.report.error(value.span, message);
                None
            }
        }
    }

    fn split(&mut self, span: Span, text: &str) -> Option<Vec<String>> {
        let words = match words::split(text) {
            Ok(words) => words,
            Err(needs) => {
                let at = self.vars.inside(span, text, &needs.range);
                let message = match &needs.what {
                    Some(what) => format!("{what} needs a shell, and there is none here"),
                    None => "a quote is never closed".to_owned(),
                };
                let hint = "write [\"sh\", \"-c\", \"...\"], or quote it".to_owned();
                self.vars.report.error(at, message).maybe_hint(needs.what.map(|_| hint));
                return None;
            }
        };
        let mut all = Some(Vec::new());
        for word in words {
            let at = self.vars.inside(span, text, &word.range);
            let datum = self.vars.replace(at, &word.text, self.context);
            all = all.zip(datum).map(|(mut all, datum)| {
                all.extend(datum.elements());
                all
            });
        }
        all
    }

    fn commands(&mut self) -> Option<Typed> {
        let nested = self.value.list().filter(|list| list.iter().any(|element| element.list().is_some()));
        let Some(list) = nested else {
            return self.command(self.value).map(|command| Typed::Commands(vec![command]));
        };
        let commands: Vec<Option<Vec<String>>> = list.iter().map(|element| self.command(element)).collect();
        commands.into_iter().collect::<Option<Vec<_>>>().map(Typed::Commands)
    }

    fn environment(&mut self, at: At<'_>) -> Option<Typed> {
        let Some(table) = self.value.table() else { return self.wants("a table of names and strings", "") };
        below_a_table(self.vars, table, at.keys);
        let mut pairs = Vec::new();
        for entry in &table.entries {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                self.vars.report.error(
                    entry.key_span,
                    format!("{} cannot be the name of a variable", quoted(&entry.key)),
                );
                continue;
            }
            let value = match &entry.value.data {
                Data::Text(text) => self.vars.text(entry.value.span, text, self.context),
                _ => {
                    let written = self.vars.report.sources.text(entry.value.span);
                    let hint =
                        matches!(entry.value.data, Data::Integer(_) | Data::Boolean(_) | Data::Float(_))
                            .then(|| format!("write \"{written}\""));
                    let message = format!("`{}` wants a string, not {}", entry.key, entry.value.kind());
                    self.vars.report.error(entry.value.span, message).maybe_hint(hint);
                    None
                }
            };
            pairs.extend(value.map(|value| (entry.key.clone(), value)));
        }
        Some(Typed::Pairs(pairs))
    }

    fn tables(&mut self, keys: Keys, at: At<'_>) -> Option<Typed> {
        let Some(list) = self.value.list() else { return self.wants("a list of tables", "write [{ ... }]") };
        let tables: Vec<_> = list.iter().map(|element| self.table(element, keys, at)).collect();
        tables.into_iter().collect::<Option<Vec<_>>>().map(Typed::Tables)
    }

    fn table(&mut self, value: &Value, keys: Keys, at: At<'_>) -> Option<Settings> {
        let Some(written) = value.table() else {
            let message = format!("`{}` wants a table, not {}", self.key.name, value.kind());
            self.vars.report.error(value.span, message);
            return None;
        };
        let name = format!("{} of {}", self.key.name, at.name);
        let inner = At { keys, name: &name, around: Some(at.keys) };
        let settings = table(self.vars, written, inner, self.context);
        self.rules(written, &settings);
        Some(settings)
    }

    /// What holds between the keys of one table.
    fn rules(&mut self, written: &Table, settings: &Settings) {
        let whole = self.context.mode != Mode::Literal;
        if matches!(self.key.name, "ready" | "health") {
            let mut probes =
                written.entries.iter().filter(|entry| keys::PROBES.contains(&entry.key.as_str()));
            if let (Some(first), Some(second)) = (probes.next(), probes.next()) {
                let message =
                    format!("`{}` takes one probe, and there is `{}` already", self.key.name, first.key);
                self.vars.report.error(second.key_span, message);
            }
            for (detail, probe) in keys::PROBE_DETAILS {
                if let Some(entry) = written.entry(detail).filter(|_| whole && !written.has(probe)) {
                    self.vars
                        .report
                        .error(entry.key_span, format!("`{detail}` means nothing without `{probe}`"));
                }
            }
        }
        match self.key.name {
            "health" => health::rules(self.vars, written, settings, whole),
            "reload" if whole => health::reload_rules(self.vars, self.value, written),
            "listen" if whole => sockets::shape(&mut self.vars.report, written),
            _ => {}
        }
        let needed = match self.key.name {
            "output" => Some("file"),
            "log_rate_limit" => Some("lines"),
            _ => None,
        };
        if let Some(needed) = needed.filter(|needed| whole && !written.has(needed)) {
            let message = format!("`{}` as a table needs `{needed}`", self.key.name);
            self.vars.report.error(self.value.span, message);
        }
        if let (Some(first), Some(max)) = (settings.duration("first"), settings.duration("max"))
            && first > max
        {
            self.wrong::<()>("has a `first` delay above its `max`", "");
        }
    }
}

/// TOML would let through what was meant for the table above: a key that stands below a header by mistake.
pub fn below_a_table(vars: &mut Variables, table: &Table, around: Keys) {
    let header = vars.report.sources.text(table.span).to_owned();
    for entry in table.entries.iter().filter(|_| header.starts_with('[')) {
        if keys::find(around, &entry.key).is_some() {
            vars.report
                .error(entry.key_span, format!("`{}` stands below {header}", entry.key))
                .hint("a key of the tree or child stands above its first table");
        }
    }
}

/// Whether a string may be an id.
pub fn check_id(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.:@-".contains(c);
    match id.chars().find(|c| !fits(*c)) {
        None if id.is_empty() => Err("`id` is empty".to_owned()),
        None => Ok(()),
        Some(c) => Err(format!("`id` cannot contain {c:?}")),
    }
}

/// A string that is one `${...}` and nothing else.
pub fn is_one_variable(text: &str) -> bool {
    text.starts_with("${") && words::end_of_variable(text, 0) == Some(text.len())
}
