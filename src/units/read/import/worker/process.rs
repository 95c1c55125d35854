//! Who the process is, and what it may use.

use super::super::text::{list, string, table};
use super::super::{command, socket};
use super::Reader;
use crate::units::read::values;

impl Reader<'_> {
    pub(super) fn identity(&mut self) {
        for (key, ours) in [("User", "user"), ("Group", "group")] {
            if let Some(text) = self.text(key) {
                self.set(ours, string(&text));
            }
        }
        let groups = self.words("SupplementaryGroups");
        if !groups.is_empty() {
            self.set("supplementary_groups", list(&groups));
        }
        if let Some(mask) = self.text("UMask") {
            self.set("umask", string(&mask));
        }
        for (key, ours) in [("Nice", "nice"), ("OOMScoreAdjust", "oom_score_adjust")] {
            if let Some(number) = self.text(key) {
                self.set(ours, number);
            }
        }
        if let Some(directory) = self.take("WorkingDirectory") {
            let path = command::plain(&self.unit().loaded.name, directory.value.trim_start_matches('-'));
            match path {
                Ok(path) if path.starts_with('/') => self.set("working_directory", string(&path)),
                _ => self.leave(directory, "the directory depends on the host"),
            }
        }
        let limits: Vec<(String, String)> = LIMITS.iter().filter_map(|name| self.limit(name)).collect();
        if !limits.is_empty() {
            self.set("limits", table(limits));
        }
        let below = [
            ("RuntimeDirectory", "/run"),
            ("StateDirectory", "/var/lib"),
            ("CacheDirectory", "/var/cache"),
            ("LogsDirectory", "/var/log"),
        ];
        let mut directories = Vec::new();
        for (key, root) in below {
            directories.extend(
                self.words(key)
                    .iter()
                    .map(|name| format!("{root}/{}", name.split(':').next().unwrap_or(name))),
            );
        }
        if !directories.is_empty() {
            if directories.iter().any(|path| path.starts_with("/run/")) {
                self.remarks.push("directories in /run are not removed when it stops".to_owned());
            }
            self.set("directories", list(&directories));
        }
    }

    pub(super) fn limit(&mut self, name: &str) -> Option<(String, String)> {
        let text = self.text(&format!("Limit{}", name.to_uppercase()))?;
        let one = |text: &str| match values::size(text) {
            Some(u64::MAX) => Some("infinity".to_owned()),
            Some(number) => Some(number.to_string()),
            None => values::span(text).map(|time| time.as_secs().to_string()),
        };
        let both: Option<Vec<String>> = text.split(':').map(one).collect();
        Some((name.to_owned(), string(&both?.join(":"))))
    }

    pub(super) fn streams(&mut self) {
        let output = self.take("StandardOutput");
        match output.map(|a| (a, &*a.value)) {
            None | Some((_, "journal" | "inherit")) => {}
            Some((_, "null")) => self.set("output", "\"null\""),
            Some((a, value)) => match value.split_once(':') {
                Some(("file" | "append" | "truncate", path)) => {
                    match command::plain(&self.unit().loaded.name, path) {
                        Ok(path) => self.set("output", table([("file", string(&path))])),
                        Err(why) => self.leave(a, why),
                    }
                }
                _ => self.leave(a, "output goes to the journal, a file, or nowhere"),
            },
        }
        let same = self.unit().loaded.last("Service", "StandardOutput").map(|a| a.value.clone());
        if let Some(error) =
            self.take("StandardError").filter(|a| a.value != "inherit" && same.as_ref() != Some(&a.value))
            && !(error.value == "journal" && same.is_none())
        {
            self.leave(error, "both streams go to one place");
        }
        if let Some(input) = self.take("StandardInput").filter(|a| a.value != "null") {
            self.leave(input, "standard input is /dev/null or a pipe that never ends");
        }
    }

    pub(super) fn resources(&mut self) {
        for (key, ours) in [("MemoryMax", "memory_max"), ("MemoryHigh", "memory_high")] {
            let Some(a) = self.take(key) else { continue };
            match values::size(&a.value) {
                Some(u64::MAX) => self.set(ours, "\"infinity\""),
                Some(bytes) => self.set(ours, string(&bytes.to_string())),
                None => self.leave(a, "a share of the memory of the host"),
            }
        }
        for (key, ours) in [("CPUWeight", "cpu_weight"), ("IOWeight", "io_weight")] {
            let Some(a) = self.take(key) else { continue };
            match a.value.parse::<u32>() {
                Ok(number) => self.set(ours, number.to_string()),
                Err(_) => self.leave(a, "no number"),
            }
        }
        if let Some(quota) = self.text("CPUQuota") {
            self.set("cpu_quota", string(&quota));
        }
        if let Some(a) = self.take("TasksMax") {
            match &*a.value {
                "infinity" if self.own => {}
                "infinity" => self.set("tasks_max", "\"infinity\""),
                number if number.parse::<u64>().is_ok() => self.set("tasks_max", number.to_owned()),
                _ => self.leave(a, "a share of the tasks of the host"),
            }
        }
        for (key, ours) in [("NoNewPrivileges", "no_new_privileges"), ("PrivateTmp", "private_tmp")] {
            if self.text(key).and_then(|text| values::boolean(&text)) == Some(true) {
                self.set(ours, "true");
            }
        }
        let paths = self.words("ReadOnlyPaths");
        if !paths.is_empty() {
            self.set("read_only_paths", list(paths.iter().map(|path| path.trim_start_matches(['-', '+']))));
        }
        self.used("Service", "CapabilityBoundingSet");
        if let Some(a) = self.unit().loaded.all("Service", "CapabilityBoundingSet").last() {
            if a.value.starts_with('~') {
                self.leave(a, "a tree says which capabilities there are, not which are not");
            } else {
                self.set("capabilities", list(a.value.split_whitespace()));
            }
        }
    }

    pub(super) fn sockets(&mut self) {
        self.used("Service", "Sockets");
        let (listen, left, sockets) = socket::listen(self.scene, self.at);
        self.left.extend(left);
        if !listen.is_empty() {
            let wanted = self.scene.naming(self.at, &["Wants", "Requires", "BindsTo", "Upholds"]);
            let installed = self.unit().loaded.assignments.iter().any(|a| a.section == "Install");
            let lazy = !installed && wanted.into_iter().all(|edge| sockets.contains(&edge.from));
            let one = |mut pairs: Vec<(&'static str, String)>| {
                if lazy {
                    pairs.push(("lazy", "true".to_owned()));
                }
                table(pairs)
            };
            let all: Vec<String> = listen.into_iter().map(one).collect();
            self.set("listen", format!("[{}]", all.join(", ")));
        }
    }
}

/// Limits that a tree has.
const LIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
