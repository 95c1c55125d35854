//! Durations, sizes, shares, signals, exit statuses, limits: small notations, each read by one function. An error is
//! the text behind `KEY: `.

use std::str::FromStr;
use std::time::Duration;

use woodward_engine::spec::Status;

/// `"250ms"`, `"10s"`, `"1m30s"`, `"2h"`, `"1d"`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no duration");
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let milliseconds = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(milliseconds).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
        rest = &rest[unit_end..];
    }
    if total > 100 * 365 * 86_400_000 {
        return Err(format!(
            "\"{text}\" is more than a hundred years; write \"infinity\" where it is allowed"
        ));
    }
    Ok(Duration::from_millis(total))
}

/// A duration as it is written: `1m30s`.
pub fn show(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, milliseconds) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
    {
        if left >= milliseconds {
            text += &format!("{}{unit}", left / milliseconds);
            left %= milliseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A duration to two figures or so, as prose: `0.7s`, `30s`, `6m30s`.
pub fn show_about(duration: Duration) -> String {
    if duration < Duration::from_secs(10) && duration.subsec_millis() >= 50 {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    show(Duration::from_secs(duration.as_secs_f64().round() as u64))
}

/// `"512K"`, `"10M"`, `"2G"`, `"1T"`, or bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no size");
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        Some(b'T') => (&text[..text.len() - 1], 1 << 40),
        _ => (text, 1_u64),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// A size as it is written: `64M`.
pub fn show_size(bytes: u64) -> String {
    let unit = [("T", 40), ("G", 30), ("M", 20), ("K", 10)].into_iter();
    let mut fits = unit.filter(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    fits.next().map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// `"50%"`, 0 to 100.
pub fn share(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.parse::<u8>().ok()).filter(|n| *n <= 100);
    number.ok_or_else(|| format!("\"{text}\" is no share"))
}

/// `"150%"`: of one processor.
pub fn percent(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.parse::<u64>().ok());
    number
        .filter(|n| (1..=100_000).contains(n))
        .ok_or_else(|| format!("\"{text}\" is no share of a processor"))
}

/// `"0022"`.
pub fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let number = u32::from_str_radix(digits, 8).ok().filter(|n| *n <= 0o777 && !digits.starts_with('+'));
    number.ok_or_else(|| format!("\"{text}\" is no file mode mask"))
}

/// `"SIGTERM"`, `"SIGRTMIN+3"`: its number.
pub fn signal(text: &str) -> Result<i32, String> {
    if let Some(rest) = text.strip_prefix("SIGRTMIN") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('+').and_then(|n| n.parse::<i32>().ok())
        };
        let number = offset.map(|n| nix::libc::SIGRTMIN().saturating_add(n));
        if let Some(number) = number.filter(|n| (nix::libc::SIGRTMIN()..=nix::libc::SIGRTMAX()).contains(n)) {
            return Ok(number);
        }
    }
    nix::sys::signal::Signal::from_str(text)
        .map(|signal| signal as i32)
        .map_err(|_| format!("unknown signal \"{text}\""))
}

/// The name of a signal, or its number.
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// Names of all signals.
pub fn signal_names() -> impl Iterator<Item = &'static str> {
    nix::sys::signal::Signal::iterator().map(nix::sys::signal::Signal::as_str)
}

/// An exit code.
pub fn exit_code(number: i64) -> Result<Status, String> {
    i32::try_from(number)
        .ok()
        .filter(|n| (0..=255).contains(n))
        .map(Status::Code)
        .ok_or_else(|| format!("{number} is no exit code"))
}

/// A resource limit: `"infinity"`, `"soft:hard"`, a number or a size.
pub fn rlimit(text: &str) -> Result<(u64, u64), String> {
    let one = |text: &str| if text == "infinity" { Ok(u64::MAX) } else { size(text) };
    let (soft, hard) = text.split_once(':').map_or_else(|| (one(text), one(text)), |(s, h)| (one(s), one(h)));
    match (soft, hard) {
        (Ok(soft), Ok(hard)) if soft <= hard => Ok((soft, hard)),
        (Ok(_), Ok(_)) => Err(format!("\"{text}\": the soft limit is above the hard one")),
        _ => Err(format!("\"{text}\" is no limit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["250ms", "10s", "1m30s", "2h", "1d", "1h250ms"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        for text in ["", "10", "s", "-1s", "1.5s", "10 s", "1x", "99999999999999999999s", "1m30"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_shares_masks_signals_and_limits() {
        assert_eq!(size("10M"), Ok(10 << 20));
        assert!(size("M").is_err() && size("1.5G").is_err() && size("99999999999T").is_err());
        assert_eq!((show_size(64 << 20), show_size(1025)), ("64M".to_owned(), "1025".to_owned()));
        assert_eq!(percent("150%"), Ok(150));
        assert!(percent("0%").is_err() && percent("150").is_err());
        assert_eq!(share("50%"), Ok(50));
        assert!(share("101%").is_err() && share("5").is_err());
        assert_eq!(octal("0022"), Ok(0o22));
        assert!(octal("9").is_err() && octal("7777").is_err());
        assert_eq!(signal("SIGTERM"), Ok(15));
        assert!(signal("TERM").is_err() && signal("SIGRTMIN+99").is_err());
        assert_eq!(rlimit("1024:infinity"), Ok((1024, u64::MAX)));
        assert!(rlimit("2:1").is_err());
    }
}
