//! The bank: descriptors that outlive the daemon, each under a name the daemon has chosen.
//!
//! The daemon opens listening sockets and puts them here; the next daemon finds them in its snapshot. The
//! keeper does nothing with them but hold them: as long as it lives, whoever connects is not refused.

use std::os::fd::OwnedFd;

use crate::wire::BANK;

/// All of them, in the order they came.
#[derive(Default)]
pub(crate) struct Bank {
    held: Vec<(Box<[u8]>, OwnedFd)>,
}

impl Bank {
    /// Takes a descriptor in. One of the same name is replaced; a full bank takes nothing.
    pub fn put(&mut self, name: &[u8], fd: OwnedFd) {
        self.drop(name);
        if self.held.len() < BANK {
            self.held.push((name.into(), fd));
        }
    }

    /// Closes one; an unknown name is none.
    pub fn drop(&mut self, name: &[u8]) {
        self.held.retain(|(held, _)| **held != *name);
    }

    /// The `n`-th.
    pub fn get(&self, n: usize) -> Option<(&[u8], &OwnedFd)> {
        self.held.get(n).map(|(name, fd)| (&**name, fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_name_is_held_once_and_until_it_is_dropped() {
        let open = || crate::sys::open(c"/dev/null", libc::O_RDONLY).expect("/dev/null can be opened");
        let mut bank = Bank::default();
        bank.put(b"a", open());
        let second = open();
        let number = second.as_raw_fd();
        bank.put(b"b", open());
        bank.put(b"a", second);
        let held = |bank: &Bank, n| bank.get(n).map(|(name, fd)| (name.to_vec(), fd.as_raw_fd()));
        assert_eq!(held(&bank, 1), Some((b"a".to_vec(), number)));
        bank.drop(b"b");
        bank.drop(b"nobody");
        assert_eq!(held(&bank, 0), Some((b"a".to_vec(), number)));
        assert_eq!(held(&bank, 1), None);
    }
}
