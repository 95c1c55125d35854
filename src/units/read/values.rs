//! Booleans, spans of time, sizes, signals, as systemd reads them: `systemd.time(7)`, `systemd.syntax(7)`.

use std::time::Duration;

use woodward_engine::spec::Status;

use crate::tree;

/// `infinity`, as a span of time.
pub const INFINITY: Duration = Duration::MAX;

/// `yes`, `off`, `1`.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Units of time with their microseconds; longer names stand first.
const UNITS: &[(&str, u64)] = &[
    ("seconds", 1_000_000),
    ("second", 1_000_000),
    ("sec", 1_000_000),
    ("s", 1_000_000),
    ("minutes", 60_000_000),
    ("minute", 60_000_000),
    ("min", 60_000_000),
    ("months", 2_629_800_000_000),
    ("month", 2_629_800_000_000),
    ("M", 2_629_800_000_000),
    ("msec", 1_000),
    ("ms", 1_000),
    ("m", 60_000_000),
    ("hours", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("h", 3_600_000_000),
    ("days", 86_400_000_000),
    ("day", 86_400_000_000),
    ("d", 86_400_000_000),
    ("weeks", 604_800_000_000),
    ("week", 604_800_000_000),
    ("w", 604_800_000_000),
    ("years", 31_557_600_000_000),
    ("year", 31_557_600_000_000),
    ("y", 31_557_600_000_000),
    ("usec", 1),
    ("us", 1),
    ("µs", 1),
    ("μs", 1),
];

/// `1min 30s`, `2.5h`, `90` (seconds), `infinity`.
pub fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "infinity" {
        return Some(INFINITY);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (thousandths, behind) = number(rest)?;
        let behind = behind.trim_start();
        let unit = UNITS.iter().find(|(unit, _)| behind.starts_with(unit));
        let (length, factor) = unit.map_or((0, 1_000_000), |(unit, factor)| (unit.len(), *factor));
        total += thousandths * u128::from(factor) / FRACTION;
        let behind = &behind[length..];
        if unit.is_none() && !behind.is_empty() && !behind.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        rest = behind.trim_start();
    }
    u64::try_from(total).ok().map(Duration::from_micros)
}

/// Numbers are counted in these.
const FRACTION: u128 = 1_000_000_000;

/// A number with or without a fraction, and what stands behind it.
fn number(text: &str) -> Option<(u128, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = digits(text);
    let mut value = match whole {
        0 if !text.starts_with('.') => return None,
        0 => 0,
        _ => text[..whole].parse::<u64>().ok().map(|n| u128::from(n) * FRACTION)?,
    };
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        if length == 0 {
            return None;
        }
        let shown = format!("{:0<9}", &fraction[..length.min(9)]);
        value += shown.parse::<u128>().ok()?;
        rest = &fraction[length..];
    }
    Some((value, rest))
}

/// `512M`, `1.5G`, bytes; `u64::MAX` is `infinity`.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    if text == "infinity" {
        return Some(u64::MAX);
    }
    let (value, unit) = number(text)?;
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    u64::try_from((value << shift) / FRACTION).ok()
}

/// `SIGTERM`, `TERM`, `15`, `RTMIN+3`.
pub fn signal(text: &str) -> Option<i32> {
    let text = text.trim();
    let name = if text.starts_with("SIG") || text.parse::<i32>().is_ok() {
        text.to_owned()
    } else {
        format!("SIG{text}")
    };
    tree::units::signal(&name).ok().or_else(|| name.parse().ok().filter(|n| (1..=64).contains(n)))
}

/// One of `SuccessExitStatus=` and the like: a number, a signal, or one of systemd's names for statuses.
pub fn status(text: &str) -> Option<Status> {
    if let Ok(code) = text.parse::<i32>() {
        return (0..=255).contains(&code).then_some(Status::Code(code));
    }
    let named = STATUSES.iter().find(|(name, _)| *name == text).map(|(_, code)| Status::Code(*code));
    named.or_else(|| signal(text).map(Status::Signal))
}

/// Names of exit statuses that `systemd.exec(5)` takes from `sysexits.h`, the C library and itself.
const STATUSES: &[(&str, i32)] = &[
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
    ("CHDIR", 200),
    ("EXEC", 203),
    ("USER", 217),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_systemds() {
        let check = |text, expected: Option<u64>| {
            assert_eq!(span(text), expected.map(Duration::from_micros), "{text}");
        };
        check("5", Some(5_000_000));
        check("1min 30s", Some(90_000_000));
        check("2.5h", Some(9_000_000_000));
        check("100ms", Some(100_000));
        check("55s500ms", Some(55_500_000));
        check("300ms20s 5day", Some(432_020_300_000));
        check("1y 12month", Some(63_115_200_000_000));
        check("3us", Some(3));
        check(".5", Some(500_000));
        check("0", Some(0));
        check("", None);
        check("5 parsecs", None);
        check("-1", None);
        assert_eq!(span("infinity"), Some(INFINITY));
    }

    #[test]
    fn sizes_booleans_signals_and_statuses() {
        assert_eq!(size("512M"), Some(512 << 20));
        assert_eq!(size("1.5G"), Some(3 << 29));
        assert_eq!(size("12"), Some(12));
        assert_eq!((size("infinity"), size("x"), size("5X")), (Some(u64::MAX), None, None));
        assert_eq!((boolean("Yes"), boolean("off"), boolean("maybe")), (Some(true), Some(false), None));
        assert_eq!(
            (signal("TERM"), signal("SIGKILL"), signal("2"), signal("NO")),
            (Some(15), Some(9), Some(2), None)
        );
        assert_eq!(status("TEMPFAIL"), Some(Status::Code(75)));
        assert_eq!(status("SIGTERM"), Some(Status::Signal(15)));
        assert_eq!(status("143"), Some(Status::Code(143)));
    }
}
