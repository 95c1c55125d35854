//! The `systemctl` of this host: asked, and told. No verb of `woodward units` starts another program.
#![allow(clippy::disallowed_methods, reason = "a verb in the foreground waits for it; it is no service")]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::report::{Code, Failure};
use crate::units::{Release, Scope};

/// A service manager, or the tree of directories of one that does not run.
pub struct Manager {
    scope: Scope,
    root: Option<PathBuf>,
}

impl Manager {
    /// That of this host, or the one that will run on another root.
    pub fn new(scope: Scope, root: Option<&Path>) -> Manager {
        Manager { scope, root: root.map(Path::to_path_buf) }
    }

    /// Whether it can be talked to.
    pub fn runs(&self) -> bool {
        let private = match self.scope {
            Scope::System => Some(PathBuf::from("/run/systemd/private")),
            Scope::User => {
                std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("systemd/private"))
            }
        };
        self.root.is_none() && private.is_some_and(|socket| socket.exists())
    }

    /// Where units of the administrator, or of the user, lie.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        let below = |path: &str| self.root.as_deref().unwrap_or(Path::new("/")).join(path);
        match (self.scope, &self.root) {
            (Scope::System, _) => Ok(below("etc/systemd/system")),
            (Scope::User, Some(_)) => Ok(below("etc/systemd/user")),
            (Scope::User, None) => {
                let set =
                    |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
                let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
                config.map(|config| config.join("systemd/user")).ok_or_else(|| {
                    Failure::new(Code::Failed, "cannot find the units of this user: HOME is not set")
                })
            }
        }
    }

    /// Tells it something, and waits; what it answered. With a root, only what concerns files.
    pub fn tell<'a>(
        &self,
        words: &[&str],
        units: impl IntoIterator<Item = &'a str>,
    ) -> Result<String, Failure> {
        let mut command = Command::new("systemctl");
        if self.scope == Scope::User {
            command.arg(if self.root.is_some() { "--global" } else { "--user" });
        }
        command.args(self.root.iter().map(|root| format!("--root={}", root.display())));
        let out = command.args(words).arg("--").args(units).output();
        let out =
            out.map_err(|error| Failure::new(Code::Failed, format!("cannot start systemctl: {error}")))?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        let message = format!("cannot {}: systemctl: {}", words.join(" "), said.trim());
        Err(Failure::new(Code::Failed, message))
    }

    /// Makes it read its units anew, if it runs.
    pub fn reload(&self) -> Result<(), Failure> {
        if self.runs() { self.tell(&["daemon-reload"], []).map(drop) } else { Ok(()) }
    }
}

/// Names of units that may run: of a template, all its instances.
pub fn loaded(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.replace("@.", "@*.")).collect()
}

/// The release of systemd on this host; the oldest that units are made for where there is none.
pub fn release() -> Release {
    let out = Command::new("systemctl").arg("--version").output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    release_in(&text).unwrap_or_default()
}

/// `systemd 252 (252.39-1~deb12u1)`, `systemd 257~rc1`.
fn release_in(version: &str) -> Option<Release> {
    let number = version.strip_prefix("systemd ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_the_host_is_the_first_number() {
        let check =
            |text: &str, release: Option<u32>| assert_eq!(release_in(text), release.map(Release), "{text}");
        check("systemd 252 (252.39-1~deb12u1)\n+PAM", Some(252));
        check("systemd 257~rc1 (257~rc1-4)", Some(257));
        check("systemd 249 (249.11)", None);
        check("", None);
    }
}
