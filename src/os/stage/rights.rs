//! Who the service is, and which capabilities there are for it.
//!
//! The listed capabilities are the bounding set, and they are what the service has: as root it has exactly these; as
//! anybody else they are inherited and ambient, which is how they survive the exec. An empty list leaves none.

use std::io;

use woodward_keeper::image::Step;

use super::{Settings, Stop, check};

const VERSION_3: u32 = 0x2008_0522;
/// More than the kernel has.
const MOST: u8 = 63;

#[repr(C)]
struct Head {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Becomes the user, and keeps only the listed capabilities.
pub(super) fn take(settings: &Settings) -> Result<(), Stop> {
    let wrong = || Stop::own("capabilities");
    // SAFETY: plain calls.
    let root = unsafe { libc::geteuid() } == 0;
    let listed = settings.capabilities.as_deref();
    let becomes = settings.ids.as_ref().map_or(root, |(uid, ..)| *uid == 0);
    if let (Some(listed), true) = (listed, root) {
        for capability in (0..=MOST).filter(|capability| !listed.contains(capability)) {
            // SAFETY: plain call.
            let dropped =
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
            match check(dropped) {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
                other => other.map_err(wrong())?,
            };
        }
        if !becomes && !listed.is_empty() {
            // SAFETY: plain call.
            check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }).map_err(wrong())?;
        }
    }
    if let Some((uid, gid, groups)) = &settings.ids {
        // SAFETY: reads `groups`; no other thread has an identity of its own.
        unsafe {
            check(libc::setgroups(groups.len(), groups.as_ptr())).map_err(Stop::at(Step::Groups))?;
            check(libc::setresgid(*gid, *gid, *gid)).map_err(Stop::at(Step::Group))?;
            check(libc::setresuid(*uid, *uid, *uid)).map_err(Stop::at(Step::User))?;
        }
    }
    let Some(listed) = listed else { return Ok(()) };
    if !root && !listed.is_empty() {
        return Err(wrong()(io::Error::from_raw_os_error(libc::EPERM)));
    }
    let mut sets = [Sets::default(); 2];
    for capability in listed {
        let (set, bit) = (&mut sets[usize::from(capability / 32)], 1 << (capability % 32));
        set.effective |= bit;
        set.permitted |= bit;
        set.inheritable |= bit;
    }
    let head = Head { version: VERSION_3, pid: 0 };
    // SAFETY: reads both.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const head, sets.as_ptr()) }).map_err(wrong())?;
    for &capability in listed.iter().filter(|_| !becomes) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
        // SAFETY: plain call.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(capability), 0, 0) })
            .map_err(wrong())?;
    }
    Ok(())
}
