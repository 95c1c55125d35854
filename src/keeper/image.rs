//! Everything a start executes, laid out once by the daemon, so that the keeper only checks bounds and turns
//! offsets into pointers.
//!
//! ```text
//! Head   u64 offsets of the strings of argv, then of the environment   limits   groups   the strings, each with its zero byte
//! ```
//!
//! All offsets count from the start of the image; the last byte of an image is zero, so every offset within
//! it is a string.

/// Largest image, in bytes, together with the additions of a start and the pointers made of both.
pub const LARGEST: usize = 1 << 20;

/// What is to be executed, as the daemon knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// File to execute; no look-up in `PATH` happens.
    pub program: Vec<u8>,
    /// Its arguments, the first is its own name.
    pub arguments: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Working directory.
    pub directory: Option<Vec<u8>>,
    /// Standard input.
    pub stdin: Stdin,
    /// User and group, and all supplementary groups; `None`: the keeper's.
    pub ids: Option<Ids>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Nice value.
    pub nice: Option<i32>,
    /// `oom_score_adj`, written when the program has been executed.
    pub oom_score_adjust: Option<i32>,
    /// `RLIMIT_…`, soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// It may run only while the right of its group stands, and dies with the keeper: of a failover group.
    pub bound: bool,
}

/// Standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe that never says anything and never ends.
    Open,
    /// The keeper's own; of the daemon too the output.
    Inherit,
}

/// User and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a start consists of, in this order; the one that failed is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The keeper's own preparations: the image, a place for the child.
    Prepare = 1,
    /// The new process.
    Clone,
    /// Entering its control group.
    Cgroup,
    /// Session.
    Session,
    /// Descriptors.
    Descriptors,
    /// Resource limits.
    Limits,
    /// Nice value.
    Nice,
    /// Supplementary groups.
    Groups,
    /// Group.
    Group,
    /// User.
    User,
    /// Working directory.
    Directory,
    /// Execution of the program.
    Execute,
    /// The right to run: the term of its group is over, or nobody has bound it; or the keeper has died meanwhile.
    Guard,
}

impl Step {
    const ALL: [Step; 13] = [
        Step::Prepare,
        Step::Clone,
        Step::Cgroup,
        Step::Session,
        Step::Descriptors,
        Step::Limits,
        Step::Nice,
        Step::Groups,
        Step::Group,
        Step::User,
        Step::Directory,
        Step::Execute,
        Step::Guard,
    ];

    /// From a report.
    pub fn from_number(number: u8) -> Option<Step> {
        Step::ALL.into_iter().find(|&s| s as u8 == number)
    }
}

/// The start of every image.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub version: u32,
    pub flags: u32,
    pub program: u32,
    pub directory: u32,
    pub arguments: u32,
    pub environment: u32,
    pub limits: u32,
    pub groups: u32,
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
    pub nice: i32,
    pub oom_score_adjust: i32,
    pub stdin: u32,
}

pub(crate) const HEAD: usize = size_of::<Head>();
const _: () = assert!(HEAD.is_multiple_of(8));

pub(crate) const HAS_DIRECTORY: u32 = 1;
pub(crate) const HAS_IDS: u32 = 2;
pub(crate) const HAS_UMASK: u32 = 4;
pub(crate) const HAS_NICE: u32 = 8;
pub(crate) const HAS_OOM: u32 = 16;
pub(crate) const BOUND: u32 = 32;

const VERSION: u32 = 1;

/// One limit as the image has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    pub resource: u64,
    pub soft: u64,
    pub hard: u64,
}

impl Image {
    /// The bytes for the keeper. Strings must not contain zero bytes: what follows one is lost.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = Head { version: VERSION, ..Head::default() };
        head.arguments = self.arguments.len() as u32;
        head.environment = self.environment.len() as u32;
        head.limits = self.limits.len() as u32;
        head.stdin = self.stdin as u32;
        let ids = self.ids.clone().unwrap_or_default();
        head.groups = ids.groups.len() as u32;
        (head.uid, head.gid) = (ids.uid, ids.gid);
        let tables = HEAD
            + 8 * (self.arguments.len() + self.environment.len())
            + size_of::<Limit>() * self.limits.len()
            + 4 * ids.groups.len();

        let mut offsets = Vec::new();
        let mut strings = Vec::new();
        let mut string = |text: &[u8]| {
            let at = (tables + strings.len()) as u32;
            strings.extend_from_slice(text);
            strings.push(0);
            at
        };
        head.program = string(&self.program);
        if let Some(directory) = &self.directory {
            head.flags |= HAS_DIRECTORY;
            head.directory = string(directory);
        }
        for text in self.arguments.iter().chain(&self.environment) {
            offsets.extend_from_slice(&u64::from(string(text)).to_ne_bytes());
        }
        head.flags |= if self.ids.is_some() { HAS_IDS } else { 0 };
        head.flags |= if self.bound { BOUND } else { 0 };
        if let Some(umask) = self.umask {
            head.flags |= HAS_UMASK;
            head.umask = umask;
        }
        if let Some(nice) = self.nice {
            head.flags |= HAS_NICE;
            head.nice = nice;
        }
        if let Some(adjust) = self.oom_score_adjust {
            head.flags |= HAS_OOM;
            head.oom_score_adjust = adjust;
        }

        let mut bytes = Vec::with_capacity(tables + strings.len());
        let fields = [head.version, head.flags, head.program, head.directory, head.arguments];
        let more = [head.environment, head.limits, head.groups, head.uid, head.gid, head.umask];
        fields.iter().chain(&more).for_each(|f| bytes.extend_from_slice(&f.to_ne_bytes()));
        bytes.extend_from_slice(&head.nice.to_ne_bytes());
        bytes.extend_from_slice(&head.oom_score_adjust.to_ne_bytes());
        bytes.extend_from_slice(&head.stdin.to_ne_bytes());
        bytes.extend_from_slice(&offsets);
        for &(resource, soft, hard) in &self.limits {
            [u64::from(resource), soft, hard].iter().for_each(|n| bytes.extend_from_slice(&n.to_ne_bytes()));
        }
        ids.groups.iter().for_each(|g| bytes.extend_from_slice(&g.to_ne_bytes()));
        bytes.extend_from_slice(&strings);
        bytes
    }
}

/// An image that may be trusted: every offset lies within it and ends in a zero byte.
#[derive(Clone, Copy)]
pub(crate) struct Checked<'a> {
    pub head: Head,
    pub bytes: &'a [u8],
}

impl<'a> Checked<'a> {
    /// `None`: not an image.
    pub fn new(bytes: &'a [u8]) -> Option<Checked<'a>> {
        let word = |i: usize| Some(u32::from_ne_bytes(bytes.get(4 * i..4 * i + 4)?.try_into().ok()?));
        let head = Head {
            version: word(0)?,
            flags: word(1)?,
            program: word(2)?,
            directory: word(3)?,
            arguments: word(4)?,
            environment: word(5)?,
            limits: word(6)?,
            groups: word(7)?,
            uid: word(8)?,
            gid: word(9)?,
            umask: word(10)?,
            nice: word(11)? as i32,
            oom_score_adjust: word(12)? as i32,
            stdin: word(13)?,
        };
        let checked = Checked { head, bytes };
        let within = |offset: u64| offset < bytes.len() as u64;
        let fits = head.version == VERSION
            && bytes.last() == Some(&0)
            && [head.arguments, head.environment, head.limits, head.groups].iter().all(|&n| n < 1 << 16)
            && checked.groups_at() + 4 * head.groups as usize <= bytes.len()
            && head.arguments >= 1
            && head.stdin <= 2
            && within(u64::from(head.program))
            && within(u64::from(head.directory))
            && checked.strings().all(within);
        fits.then_some(checked)
    }

    /// Offsets of the arguments, then of the environment.
    pub fn strings(self) -> impl Iterator<Item = u64> + 'a {
        let table = &self.bytes[HEAD..self.limits_at()];
        table.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// Where the limits are.
    pub fn limits_at(self) -> usize {
        HEAD + 8 * (self.head.arguments as usize + self.head.environment as usize)
    }

    /// Where the groups are.
    pub fn groups_at(self) -> usize {
        self.limits_at() + size_of::<Limit>() * self.head.limits as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            program: b"/bin/true".to_vec(),
            arguments: vec![b"true".to_vec(), b"".to_vec()],
            environment: vec![b"A=1".to_vec()],
            directory: Some(b"/".to_vec()),
            ids: Some(Ids { uid: 1, gid: 2, groups: vec![3, 4] }),
            limits: vec![(7, 8, 9)],
            ..Image::default()
        }
    }

    #[test]
    fn offsets_lead_to_the_strings() {
        let bytes = image().encode();
        let checked = Checked::new(&bytes).unwrap();
        let text = |offset: u64| {
            let rest = &bytes[offset as usize..];
            rest[..rest.iter().position(|&b| b == 0).unwrap()].to_vec()
        };
        let texts: Vec<_> = checked.strings().map(text).collect();
        assert_eq!(texts, [b"true".to_vec(), b"".to_vec(), b"A=1".to_vec()]);
        assert_eq!(text(u64::from(checked.head.program)), b"/bin/true");
        assert_eq!(text(u64::from(checked.head.directory)), b"/");
        assert_eq!(bytes[checked.limits_at()], 7);
        assert_eq!(bytes[checked.groups_at()], 3);
    }

    #[test]
    fn an_image_that_points_outside_itself_is_refused() {
        let good = image().encode();
        for at in 0..good.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Some(checked) = Checked::new(&bad) {
                    assert!(checked.strings().all(|o| o < bad.len() as u64));
                }
            }
            assert!(Checked::new(&good[..at]).is_none_or(|c| c.strings().all(|o| o < at as u64)));
        }
    }
}
