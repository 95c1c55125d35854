//! What the service runs, and in which environment.

use super::super::command::{self, Said};
use super::super::text::{list, string, table};
use super::Reader;
use crate::tree::units::show;
use crate::units::native::UP;
use crate::units::read::scene::Service;
use crate::units::read::values;
use crate::units::read::words;

impl Reader<'_> {
    pub(super) fn environment(&mut self) {
        let loaded = &self.unit().loaded;
        for assignment in loaded.many("Service", "EnvironmentFile") {
            let Ok(path) = command::plain(&loaded.name, &assignment.value) else {
                self.leave(assignment, "the path depends on the host");
                continue;
            };
            if !path.starts_with('-') {
                self.remarks.push(format!("{path} may be missing here; for systemd that is a failed start"));
            }
        }
        let files: Vec<String> = loaded
            .many("Service", "EnvironmentFile")
            .iter()
            .filter_map(|a| command::plain(&loaded.name, &a.value).ok())
            .map(|path| format!("-{}", path.trim_start_matches('-')))
            .collect();
        self.used("Service", "EnvironmentFile");
        if !files.is_empty() {
            self.set("environment_file", list(&files));
        }
        self.used("Service", "Environment");
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (assignment, word) in loaded.words("Service", "Environment") {
            let Ok((name, _)) = words::variable(&word) else { continue };
            let name = name.to_owned();
            let value = &word.text[name.len() + 1..];
            match command::plain(&loaded.name, value) {
                Ok(value) if !(self.own && name.starts_with("WOODWARD_")) => {
                    pairs.retain(|(other, _)| *other != name);
                    pairs.push((name, value));
                }
                Ok(_) => {}
                Err(why) => self.leave(assignment, why),
            }
        }
        if !pairs.is_empty() {
            let written = pairs.iter().map(|(name, value)| (name.clone(), string(value)));
            self.set("environment", table(written));
        }
        if files.is_empty() {
            self.environment = pairs.into_iter().collect();
        }
        let passed = self.words("PassEnvironment");
        if !passed.is_empty() {
            self.set("pass_environment", list(&passed));
        }
    }

    /// The command lines of a key as commands of a tree; those that cannot be are left.
    pub(super) fn lines_of(&mut self, key: &str) -> Vec<Said> {
        self.used("Service", key);
        let mut found = Vec::new();
        for (assignment, line) in self.unit().loaded.commands("Service", key) {
            match command::said(&self.unit().loaded.name, &line, &self.environment) {
                Ok(mut said) => {
                    if self.own {
                        said.argv = command::looked_up(&said.argv).to_vec();
                    }
                    if let Some(why) = &said.privileges {
                        self.leave(assignment, why.clone());
                    }
                    found.push(said);
                }
                Err(why) => self.leave(assignment, why),
            }
        }
        found
    }

    pub(super) fn commands(&mut self, service: &Service) {
        let mut start = self.lines_of("ExecStart");
        if service.kind == "oneshot" && start.len() > 1 {
            let all: Vec<String> = start.iter().map(Said::shell).collect();
            start = vec![Said::script(all.join(" && "))];
        }
        match start.first() {
            Some(start) => {
                let (argv, ready) = command::without_proxy(&start.argv);
                let argv = if self.own { command::looked_up(argv) } else { argv };
                match command::on_restart(argv).filter(|_| self.own) {
                    Some((first, again)) => {
                        self.set("command", list(first));
                        self.set("command_on_restart", list(again));
                    }
                    None => self.set("command", list(argv)),
                }
                ready.iter().for_each(|(key, value)| self.set(key, value.clone()));
            }
            None => self.set("command", list(["/bin/true"])),
        }
        let mut before = self.lines_of("ExecStartPre");
        if self.own {
            let made: Vec<String> = before.iter().filter_map(command::directories).flatten().collect();
            before.retain(|said| command::directories(said).is_none());
            if !made.is_empty() {
                self.left.retain(|left| left.key != "ExecStartPre");
                self.set("directories", list(&made));
            }
        }
        self.hooks("before_start", before);
        let mut posts = self.lines_of("ExecStartPost");
        for said in &posts {
            let found = command::asked(&said.argv).unwrap_or_default();
            found.iter().for_each(|(key, value)| self.set(key, value.clone()));
        }
        posts.retain(|said| command::asked(&said.argv).is_none());
        if self.own {
            // The mark that it has been ready: `initial_start` of its supervisor.
            posts.retain(|said| !said.argv.iter().any(|word| word == UP));
            self.left.retain(|left| !(left.key == "ExecStartPost" && left.value.contains("/up-$1")));
        }
        if self.own
            && let Some([_, seconds]) =
                posts.first().map(|said| &said.argv[..]).filter(|a| a[0].ends_with("sleep"))
            && let Some(time) = values::span(seconds)
        {
            self.set("ready.settle", string(&show(time)));
            posts.remove(0);
        }
        self.hooks("after_ready", posts);
        let mut ends = self.lines_of("ExecStopPost");
        if self.own {
            // What the proxy leaves behind, the mark that it has been started, and what its end ends.
            let ours = |word: &str| {
                word.ends_with("--drain") || word.contains("/started-") || word.contains("-abort.service")
            };
            ends.retain(|said| !said.argv.iter().any(|word| ours(word)));
            self.left.retain(|left| !(left.key == "ExecStopPost" && ours(&left.value)));
        }
        self.hooks("after_stop", ends);
        let stops = self.lines_of("ExecStop");
        if let Some(stop) = stops.first() {
            let all = Said::script(stops.iter().map(Said::shell).collect::<Vec<_>>().join("; "));
            let one = if stops.len() == 1 { stop } else { &all };
            self.set("stop.command", list(&one.argv));
        }
        let reload = self.lines_of("ExecReload");
        if let Some(reload) = reload.first() {
            match command::kill(&reload.argv) {
                Some(signal) => self.set("reload.signal", string(&signal)),
                None => self.set("reload.command", list(&reload.argv)),
            }
        }
    }

    pub(super) fn hooks(&mut self, key: &str, hooks: Vec<Said>) {
        let lists: Vec<String> = hooks.iter().map(|said| list(&said.tolerant().argv)).collect();
        match &lists[..] {
            [] => {}
            [one] => self.set(key, one.clone()),
            all => self.set(key, format!("[{}]", all.join(", "))),
        }
    }
}
