//! What is said before a connection through the proxy begins.
//!
//! ```text
//! client  WOODWARD/1 acs 812\n           group, and epoch: FENCING_TOKEN
//! proxy   WOODWARD/1 ok\n                from here on everything is passed on, in both directions
//!    or   WOODWARD/1 refused: WHY\n      and the connection is closed
//! ```
//!
//! Both lines are ASCII and at most [`LONGEST`] bytes. The client may send on without waiting for the answer.

/// Bytes of a line with its end.
pub(super) const LONGEST: usize = 256;
/// The version of all this.
const MARK: &str = "WOODWARD/1";

/// Who wants to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub group: String,
    pub epoch: u64,
}

impl Preamble {
    /// The line.
    pub fn line(&self) -> String {
        format!("{MARK} {} {}\n", self.group, self.epoch)
    }

    /// Reads a line without its end.
    pub fn read(line: &[u8]) -> Option<Preamble> {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.strip_suffix('\r').unwrap_or(line).split(' ');
        let (mark, group, epoch) = (words.next()?, words.next()?, words.next()?);
        // Not `+5`, nor anything else that a number may be written as.
        let digits = epoch.bytes().all(|b| b.is_ascii_digit());
        let whole = mark == MARK && is_name(group) && digits && words.next().is_none();
        whole.then_some(())?;
        Some(Preamble { group: group.to_owned(), epoch: epoch.parse().ok()? })
    }
}

/// The proxy's answer.
pub(super) fn answer(refused: Option<&str>) -> String {
    match refused {
        None => format!("{MARK} ok\n"),
        Some(why) => {
            let why: String = why.chars().filter(|c| !c.is_control()).take(LONGEST / 2).collect();
            format!("{MARK} refused: {why}\n")
        }
    }
}

/// What an answer says, without its end; the error is why not.
pub(super) fn understand(line: &str) -> Result<(), String> {
    match line.strip_prefix(MARK).map(str::trim) {
        Some("ok") => Ok(()),
        Some(words) => Err(words.strip_prefix("refused: ").unwrap_or(words).to_owned()),
        None => Err(format!("it is no `woodward guard proxy`, it says {line:?}")),
    }
}

/// Whether a group may be called so.
pub(super) fn is_name(group: &str) -> bool {
    !group.is_empty() && group.len() <= 128 && group.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let one = Preamble { group: "acs-1.main".into(), epoch: u64::MAX };
        assert_eq!(Preamble::read(one.line().trim_end().as_bytes()), Some(one));
        assert_eq!(understand(answer(None).trim_end()), Ok(()));
        assert_eq!(understand(answer(Some("too\nold")).trim_end()), Err("tooold".to_owned()));
        assert!(understand("220 mail.example ESMTP").is_err());
    }

    #[test]
    fn anything_else_is_not() {
        for line in
            ["", "WOODWARD/1", "WOODWARD/1 acs", "WOODWARD/1 acs x", "WOODWARD/1 acs -1", "WOODWARD/1 acs +1"]
        {
            assert_eq!(Preamble::read(line.as_bytes()), None, "{line}");
        }
        for line in
            ["WOODWARD/2 acs 1", "WOODWARD/1  1", "WOODWARD/1 acs 1 2", "WOODWARD/1 acs 99999999999999999999"]
        {
            assert_eq!(Preamble::read(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Preamble::read(b"\xff\xfe"), None);
    }
}
