//! The `systemctl` of this host: asked, and told. No verb of `woodward units` starts another program.
#![allow(clippy::disallowed_methods, reason = "a verb in the foreground waits for it; it is no service")]

use std::process::Command;

use crate::units::Release;

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
