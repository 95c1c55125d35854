//! The conformance runner: reads supervision scenarios (one JSON object per line), lets the engine decide, prints one
//! trace per scenario in the form of the OTP oracle.
//!
//! ```text
//! cargo run -q --release -p woodward-engine --example oracle -- [--shuffle SEED] SCENARIOS.jsonl > traces.jsonl
//! ```
//!
//! With `--shuffle` the outcomes of what the engine asks for are delivered late and in random order.

#[path = "../tests/common/oracle.rs"]
mod oracle;

use std::io::{BufWriter, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut shuffle = None;
    let mut file = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--shuffle" => shuffle = args.next().and_then(|seed| seed.parse().ok()),
            _ => file = Some(arg),
        }
    }
    let Some(file) = file else {
        eprintln!("usage: oracle [--shuffle SEED] SCENARIOS.jsonl > traces.jsonl   (\"-\": standard input)");
        return ExitCode::from(64);
    };
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(&file).map(|t| text = t)
    };
    if let Err(error) = read {
        eprintln!("cannot read {file}: {error}");
        return ExitCode::from(66);
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (i, line) in text.lines().filter(|l| !l.trim().is_empty()).enumerate() {
        let scenario = match serde_json::from_str(line) {
            Ok(scenario) => scenario,
            Err(error) => {
                eprintln!("cannot read scenario {}: {error}", i + 1);
                return ExitCode::from(65);
            }
        };
        let trace = oracle::run(&scenario, shuffle.map(|seed: u64| seed.wrapping_add(i as u64)));
        if writeln!(out, "{trace}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
