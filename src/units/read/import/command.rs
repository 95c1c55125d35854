//! Command lines of units as commands of a tree. What only systemd does with them, filling in variables above all, is
//! done here where the value is known, else by a shell in front.

use std::collections::BTreeMap;

use super::super::specifiers::{Name, Percent};
use super::super::words::{self, Command, Dollar, Word};

/// A command of a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its failure does not matter.
    pub may_fail: bool,
    /// It should run with more rights than its service: `+`, `!`.
    pub privileges: Option<String>,
}

impl Said {
    /// A script for a shell.
    pub fn script(script: String) -> Said {
        Said { argv: vec!["/bin/sh".into(), "-c".into(), script], ..Said::default() }
    }

    /// As a piece of a script.
    pub fn shell(&self) -> String {
        let words: Vec<String> = self.argv.iter().map(|word| quoted(word)).collect();
        let tail = if self.may_fail { " || :" } else { "" };
        format!("{}{tail}", words.join(" "))
    }

    /// With a shell around it if its failure does not matter.
    pub fn tolerant(&self) -> Said {
        if self.may_fail { Said::script(self.shell()) } else { self.clone() }
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Specifiers of the host that are the same on every host, or a variable of a tree.
const KNOWN: &[(char, &str)] = &[
    ('t', "/run"),
    ('S', "/var/lib"),
    ('C', "/var/cache"),
    ('L', "/var/log"),
    ('E', "/etc"),
    ('T', "/tmp"),
    ('V', "/var/tmp"),
];

/// A value with its specifiers filled in; why not, if one is only known on the host.
pub fn plain(name: &Name, text: &str) -> Result<String, String> {
    let (expanded, found) = name.expand(text);
    let host = found.iter().filter_map(|(_, what)| if let Percent::Host(c) = what { Some(*c) } else { None });
    host.into_iter().try_fold(expanded, |text, c| {
        let known = KNOWN.iter().find(|(known, _)| *known == c);
        let (_, value) = known.ok_or_else(|| format!("%{c} is known on the host only"))?;
        Ok(text.replace(&format!("%{c}"), value))
    })
}

/// A command line; `environment` is what the unit says of it, empty if more of it is known at run time only.
pub fn said(name: &Name, line: &Command, environment: &BTreeMap<String, String>) -> Result<Said, String> {
    let program = plain(name, &line.program)?;
    let mut arguments = line.argv.iter();
    if line.prefix.contains('@') {
        arguments.next();
        return Err("a program under another name (`@`)".to_owned());
    }
    arguments.next();
    let mut argv = vec![program];
    let mut script: Option<Vec<String>> = None;
    for word in arguments {
        let text = plain(name, &word.text)?;
        let escaped = Word { text, range: word.range.clone() };
        let found = if line.expands() { words::dollars(&escaped.text) } else { Vec::new() };
        if found.is_empty() {
            argv.push(escaped.text.clone());
            script.iter_mut().for_each(|script| script.push(quoted(&escaped.text)));
            continue;
        }
        match filled(&escaped.text, &found, environment) {
            Some(values) => {
                script.iter_mut().for_each(|script| script.extend(values.iter().map(|value| quoted(value))));
                argv.extend(values);
            }
            None => {
                let script = script.get_or_insert_with(|| argv.iter().map(|word| quoted(word)).collect());
                script.push(for_shell(&escaped.text, &found));
            }
        }
    }
    let privileges = ['+', '!', '|'].into_iter().find(|c| line.prefix.contains(*c));
    let privileges = privileges.map(|c| format!("`{c}`: every command runs with the rights of its service"));
    let argv = match script {
        Some(script) => Said::script(format!("exec {}", script.join(" "))).argv,
        None => argv,
    };
    Ok(Said { argv, may_fail: line.may_fail(), privileges })
}

/// A word with the variables filled in, if all of them are known.
fn filled(
    text: &str,
    found: &[(std::ops::Range<usize>, Dollar)],
    environment: &BTreeMap<String, String>,
) -> Option<Vec<String>> {
    if let [(_, Dollar::Words(name))] = found {
        let value = environment.get(name)?;
        return Some(value.split_whitespace().map(str::to_owned).collect());
    }
    let (mut out, mut at) = (String::new(), 0);
    for (range, dollar) in found {
        out.push_str(&text[at..range.start]);
        match dollar {
            Dollar::Escaped => out.push('$'),
            Dollar::Value(name) => out.push_str(environment.get(name)?),
            Dollar::Words(_) | Dollar::Literal => out.push_str(&text[range.clone()]),
        }
        at = range.end;
    }
    out.push_str(&text[at..]);
    Some(vec![out])
}

/// A word for a shell that fills the variables in.
fn for_shell(text: &str, found: &[(std::ops::Range<usize>, Dollar)]) -> String {
    if let [(_, Dollar::Words(name))] = found {
        return format!("${{{name}}}");
    }
    let (mut out, mut at) = (String::from("\""), 0);
    let escape = |out: &mut String, text: &str| {
        for c in text.chars() {
            if "\"\\$`".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
    };
    for (range, dollar) in found {
        escape(&mut out, &text[at..range.start]);
        match dollar {
            Dollar::Value(name) => out.push_str(&format!("${{{name}}}")),
            _ => out.push_str("\\$"),
        }
        at = range.end;
    }
    escape(&mut out, &text[at..]);
    out.push('"');
    out
}

/// The signal of `kill -HUP $MAINPID` in its many forms.
pub fn kill(argv: &[String]) -> Option<String> {
    let text = argv.last().filter(|_| argv.len() == 3 && argv[1] == "-c").cloned();
    let text = text.unwrap_or_else(|| argv.join(" "));
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "exec").collect();
    let (program, pid) = (words.first()?, words.last()?);
    let main = matches!(pid.trim_matches('"'), "$MAINPID" | "${MAINPID}");
    if !main || program.rsplit('/').next() != Some("kill") {
        return None;
    }
    let name = match words[1..words.len() - 1] {
        [signal] => signal.strip_prefix('-')?.trim_start_matches('s'),
        ["-s" | "--signal", signal] => signal,
        _ => return None,
    };
    let number = super::super::values::signal(name)?;
    Some(crate::tree::units::signal_name(number))
}

/// `woodward ready ... -- COMMAND` in front of a command: the command, and the keys of readiness and health.
pub fn without_proxy(argv: &[String]) -> (&[String], Vec<(String, String)>) {
    let keys = asked(argv).unwrap_or_default();
    match argv.iter().position(|word| word == "--") {
        Some(at) if !keys.is_empty() => (&argv[at + 1..], keys),
        _ => (argv, Vec::new()),
    }
}

/// `[ -e MARK ] && exec AGAIN; exec FIRST`, as our own units say `command_on_restart`: first and again.
pub fn on_restart(argv: &[String]) -> Option<(Vec<String>, Vec<String>)> {
    let script = argv.get(2).filter(|_| argv[0] == "/bin/sh" && argv[1] == "-c")?;
    let (_, both) = script.strip_prefix("[ -e ")?.split_once(" ] && exec ")?;
    let (again, rest) = shell_words(both)?;
    let (first, _) = shell_words(rest.strip_prefix(" exec ")?)?;
    Some((first, again))
}

/// The words of a simple command for `sh`, in single quotes where they need it; and what stands behind its `;`.
fn shell_words(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut words, mut word, mut at) = (Vec::new(), None::<String>, 0);
    while let Some(c) = text[at..].chars().next() {
        at += c.len_utf8();
        match c {
            '\'' => {
                let end = at + text[at..].find('\'')?;
                word.get_or_insert_default().push_str(&text[at..end]);
                at = end + 1;
            }
            '\\' => {
                let escaped = text[at..].chars().next()?;
                word.get_or_insert_default().push(escaped);
                at += escaped.len_utf8();
            }
            ';' => break,
            ' ' => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some((words, &text[at..]))
}

/// Without the `/usr/bin/env` by which our own units look a program up in the `PATH` of its service.
pub fn looked_up(argv: &[String]) -> &[String] {
    match argv {
        [env, program, ..] if env == "/usr/bin/env" && !program.contains(['/', '=']) => &argv[1..],
        _ => argv,
    }
}

/// What `woodward ready` was asked, as keys of a tree; `None` if it is another program.
pub fn asked(argv: &[String]) -> Option<Vec<(String, String)>> {
    let ours = argv.first()?.rsplit('/').next() == Some("woodward") && argv.get(1)? == "ready";
    if !ours {
        return None;
    }
    let (mut keys, mut at) = (Vec::new(), 2);
    let string = super::text::string;
    let health = |keys: &[(String, String)]| keys.iter().any(|(key, _)| key.starts_with("health."));
    while let Some(word) = argv.get(at).filter(|word| *word != "--") {
        at += 1;
        let Some(option) = word.strip_prefix("--") else { continue };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = argv.get(at).cloned().unwrap_or_default();
                at += 1;
                (option, value)
            }
        };
        let key = match name {
            "within" | "settle" => format!("ready.{name}"),
            "every" | "timeout" => format!("health.{name}"),
            "misses" => {
                keys.push(("health.misses".to_owned(), value));
                continue;
            }
            "start-after" => "health.start_after".to_owned(),
            "max-age" => "health.max_age".to_owned(),
            "status" | "contains" => format!("{}.{name}", if health(&keys) { "health" } else { "ready" }),
            "fd" => {
                keys.push(("ready.fd".to_owned(), value));
                continue;
            }
            _ => match name.strip_prefix("health-") {
                Some(probe) => format!("health.{probe}"),
                None => format!("ready.{name}"),
            },
        };
        if key.ends_with(".exec") {
            // The command is the rest up to a lone `;`.
            let rest: Vec<String> = argv[at - 1..].iter().take_while(|word| *word != ";").cloned().collect();
            at += rest.len();
            keys.push((key, super::text::list(rest)));
            continue;
        }
        let value = if key == "ready.status" || key == "health.status" { value } else { string(&value) };
        keys.push((key, value));
    }
    Some(keys)
}

/// The directories that a hook of our own makes.
pub fn directories(said: &Said) -> Option<Vec<String>> {
    let [shell, flag, script, name, made @ ..] = &said.argv[..] else { return None };
    let ours = shell == "/bin/sh" && flag == "-c" && name == "sh" && script.contains("for d; do");
    ours.then(|| made.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&str]) {
        let (commands, problems) = words::commands(line);
        assert_eq!(problems, [], "{line}");
        let environment = BTreeMap::from([("A".to_owned(), "1 2".to_owned())]);
        let said = said(&Name::of("a@x.service"), &commands[0], &environment).expect("it can be said");
        assert_eq!(said.argv, expected, "{line}");
    }

    #[test]
    fn variables_are_filled_in_or_left_to_a_shell() {
        check("/bin/a b%i ${A} $A $$B", &["/bin/a", "bx", "1 2", "1", "2", "$B"]);
        check("/bin/a -p ${B}/c 'd e' $B", &["/bin/sh", "-c", "exec /bin/a -p \"${B}/c\" 'd e' ${B}"]);
        check(":/bin/a $A ${B}", &["/bin/a", "$A", "${B}"]);
        check(
            "/bin/bash -lc 'exec a $$B ${C}'",
            &["/bin/sh", "-c", "exec /bin/bash -lc \"exec a \\$B ${C}\""],
        );
    }

    #[test]
    fn a_kill_of_the_main_process_is_a_signal() {
        let check = |text: &str, expected: Option<&str>| {
            let argv: Vec<String> = text.split(' ').map(str::to_owned).collect();
            assert_eq!(kill(&argv).as_deref(), expected, "{text}");
        };
        check("/bin/kill -HUP $MAINPID", Some("SIGHUP"));
        check("/bin/kill -s USR1 ${MAINPID}", Some("SIGUSR1"));
        check("kill -TERM 1", None);
        check("/bin/reload", None);
    }
}
