//! How times, signals and ends are spelled, wherever woodward speaks to people.

use std::time::Duration;

use woodward_engine::Exit;

/// A span of time in its two largest units: `100ms`, `1.5s`, `41s`, `1m`, `3d 4h`.
pub fn span(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if ms < 1000 {
        return format!("{ms}ms");
    }
    if ms < 10_000 && !ms.is_multiple_of(1000) {
        let tenths = format!("{}.{:03}", ms / 1000, ms % 1000);
        return format!("{}s", tenths.trim_end_matches('0'));
    }
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut rest = ms / 1000;
    let mut parts = Vec::with_capacity(2);
    for (at, (size, unit)) in UNITS.iter().enumerate() {
        if rest >= *size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
            let next = UNITS.get(at + 1).map_or(1, |(size, _)| *size);
            if rest >= next {
                parts.push(format!("{}{}", rest / next, UNITS[at + 1].1));
            }
            break;
        }
    }
    parts.join(" ")
}

/// As [`span`], to a tenth of a second at most: for what has been measured rather than set.
pub fn about(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => span(time),
        ms @ 1000..10_000 => span(Duration::from_millis(u64::try_from(ms / 100 * 100).unwrap_or(0))),
        _ => span(Duration::from_secs(time.as_secs())),
    }
}

/// The time of day of a moment (milliseconds since 1970, UTC), `zone` seconds east of Greenwich: `03:12:40`.
pub fn clock(at: u64, zone: i32) -> String {
    let seconds = (i64::try_from(at / 1000).unwrap_or(0) + i64::from(zone)).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// As [`clock`], with milliseconds: `03:12:40.118`.
pub fn clock_ms(at: u64, zone: i32) -> String {
    format!("{}.{:03}", clock(at, zone), at % 1000)
}

/// The day of a moment: `2026-11-21`.
pub fn day(at: u64, zone: i32) -> String {
    let local = i64::try_from(at / 1000).unwrap_or(0) + i64::from(zone);
    let time = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(local).unwrap_or(0));
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}

/// RFC 3339, UTC, milliseconds.
pub fn rfc3339(at: u64) -> String {
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

/// The way back; `None` if it is no such time.
pub fn from_rfc3339(text: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// `SIGTERM`, or `signal 64` for one without a name.
pub fn signal(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {number}"),
    }
}

/// How a process ended: `exit 1`, `SIGKILL`, an OTP reason, or `not known`.
pub fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(number) => signal(number),
        Exit::Reason(reason) => reason.to_string(),
        Exit::Unknown => "not known".to_owned(),
    }
}

/// The last part of a path.
pub fn leaf(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, leaf)| leaf)
}

/// The supervisor's part of a path; `None` for a root.
pub fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// Whether `path` is `above` or below it. Everything is below `""`.
pub fn is_within(path: &str, above: &str) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        let check = |ms, text| assert_eq!(span(Duration::from_millis(ms)), text);
        check(0, "0ms");
        check(100, "100ms");
        check(1000, "1s");
        check(1500, "1.5s");
        check(41_300, "41s");
        check(60_000, "1m");
        check(90_000, "1m 30s");
        check(3_600_000, "1h");
        check(3_605_000, "1h");
        check((3 * 86_400 + 4 * 3600 + 59) * 1000, "3d 4h");
    }

    #[test]
    fn a_measured_span_is_rounded_to_tenths() {
        assert_eq!(about(Duration::from_millis(1234)), "1.2s");
        assert_eq!(about(Duration::from_millis(12_999)), "12s");
    }

    #[test]
    fn a_time_of_day_follows_the_zone() {
        assert_eq!(clock(11_560_118, 0), "03:12:40");
        assert_eq!(clock_ms(11_560_118, -3600 * 4), "23:12:40.118");
        assert_eq!(from_rfc3339(&rfc3339(1_795_224_000_123)), Some(1_795_224_000_123));
    }

    #[test]
    fn a_path_is_within_itself_and_what_is_above_it() {
        assert!(is_within("acs/a", "acs/a") && is_within("acs/a", "acs") && is_within("acs/a", ""));
        assert!(!is_within("acs/ab", "acs/a") && !is_within("acs", "acs/a"));
    }
}
