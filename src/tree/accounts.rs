//! Users and groups of this host, by name and number.
//!
//! The full build asks the name service (files, LDAP, systemd, whatever the host has). The small build is static,
//! where the C library has no name service, so it reads `/etc/passwd` and `/etc/group` itself.

use std::io;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
}

#[cfg(feature = "full")]
pub use name_service::{group, groups_of, user, user_numbered};
#[cfg(not(feature = "full"))]
pub use own::{group, groups_of, user, user_numbered};

#[cfg(feature = "full")]
mod name_service {
    use super::{User, io};

    fn known(user: nix::unistd::User) -> User {
        User { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }

    /// The user of this name; `None`: there is none.
    pub fn user(name: &str) -> io::Result<Option<User>> {
        Ok(nix::unistd::User::from_name(name)?.map(known))
    }

    /// The user of this number; `None`: there is none.
    pub fn user_numbered(uid: u32) -> io::Result<Option<User>> {
        Ok(nix::unistd::User::from_uid(uid.into())?.map(known))
    }

    /// The number of the group of this name; `None`: there is none.
    pub fn group(name: &str) -> io::Result<Option<u32>> {
        Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }

    /// All groups of the user of this name, `gid` among them.
    pub fn groups_of(name: &str, gid: u32) -> io::Result<Vec<u32>> {
        let name = std::ffi::CString::new(name)?;
        let groups = nix::unistd::getgrouplist(&name, gid.into())?;
        Ok(groups.into_iter().map(nix::unistd::Gid::as_raw).collect())
    }
}

#[cfg(any(not(feature = "full"), test))]
mod own {
    use super::User;
    #[cfg(not(feature = "full"))]
    use super::io;

    /// A file of the host; one that is not there is empty, as in an image without users.
    #[cfg(not(feature = "full"))]
    fn read(path: &str) -> io::Result<String> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(e),
        }
    }

    /// The user of this name; `None`: there is none.
    #[cfg(not(feature = "full"))]
    pub fn user(name: &str) -> io::Result<Option<User>> {
        Ok(users(&read("/etc/passwd")?).find(|user| user.name == name))
    }

    /// The user of this number; `None`: there is none.
    #[cfg(not(feature = "full"))]
    pub fn user_numbered(uid: u32) -> io::Result<Option<User>> {
        Ok(users(&read("/etc/passwd")?).find(|user| user.uid == uid))
    }

    /// The number of the group of this name; `None`: there is none.
    #[cfg(not(feature = "full"))]
    pub fn group(name: &str) -> io::Result<Option<u32>> {
        Ok(groups(&read("/etc/group")?).find(|(group, ..)| *group == name).map(|(_, gid, _)| gid))
    }

    /// All groups of the user of this name, `gid` among them.
    #[cfg(not(feature = "full"))]
    pub fn groups_of(name: &str, gid: u32) -> io::Result<Vec<u32>> {
        Ok(all_groups(&read("/etc/group")?, name, gid))
    }

    /// Lines of passwd(5); what is no such line is passed over.
    pub(super) fn users(text: &str) -> impl Iterator<Item = User> {
        text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let mut numbers = fields.skip(1).map(str::parse);
            Some(User { name: name.to_owned(), uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
        })
    }

    /// Lines of group(5): name, number, members.
    pub(super) fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
        text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            Some((name, gid, fields.next().unwrap_or_default()))
        })
    }

    pub(super) fn all_groups(text: &str, name: &str, gid: u32) -> Vec<u32> {
        let further = groups(text).filter(|(_, _, members)| members.split(',').any(|member| member == name));
        let further = further.map(|(_, number, _)| number).filter(|number| *number != gid);
        std::iter::once(gid).chain(further).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::own::{all_groups, groups, users};
    use super::*;

    #[test]
    fn files_of_users_and_groups_are_read() {
        let text = "root:x:0:0:root:/root:/bin/sh\n# nobody\nbroken:x:one:1::\nweb:x:33:34::/:\n";
        let found: Vec<User> = users(text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], User { name: "web".to_owned(), uid: 33, gid: 34 });
        let text = "root:x:0:\nweb:x:34:\nlogs:x:35:ana,web\nweb2:x:36:web\nother:x:37:webb\n";
        assert_eq!(groups(text).nth(2), Some(("logs", 35, "ana,web")));
        assert_eq!(all_groups(text, "web", 34), [34, 35, 36]);
    }

    #[test]
    fn the_files_say_what_the_name_service_says_of_root() {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        assert_eq!(users(&passwd).find(|u| u.name == "root"), user("root").unwrap());
        assert_eq!(user_numbered(0).unwrap(), user("root").unwrap());
        assert_eq!(group("root").unwrap(), Some(0));
        assert!(groups_of("root", 0).unwrap().contains(&0));
    }
}
