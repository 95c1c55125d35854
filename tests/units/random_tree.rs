//! Trees at random: every way in which a tree can say who starts, stops and restarts with whom, and nothing else.

use std::fmt::Write as _;

use crate::random::Random;

/// Where a service's command line has the directory of its tree: each side has one of its own.
pub const RUN: &str = "@RUN@";

/// The command of a service.
pub fn command(how: &str) -> String {
    let how = if how.is_empty() { String::new() } else { format!(", {how:?}") };
    format!("command = [\"/opt/proof/worker\", \"{RUN}\", \"${{path}}\"{how}]\n")
}

/// A tree of one to three levels with two to seven services.
pub fn tree(id: &str, random: &mut Random) -> String {
    let mut text = format!("id = {id:?}\nsemantics = \"otp\"\n");
    let services = 2 + random.below(6);
    supervisor(&mut text, "", services, random);
    text
}

/// The keys of a supervisor and its children. `table` is the name of its own table of TOML, empty at the root.
fn supervisor(text: &mut String, table: &str, services: usize, random: &mut Random) {
    let levels = table.matches("child").count();
    let word = |random: &mut Random, likely: &str, others: &[&str], percent: u64| {
        if random.chance(percent) { random.pick(others).to_owned() } else { likely.to_owned() }
    };
    let strategy = random.pick(&["one_for_one", "one_for_all", "rest_for_one"]);
    let order = word(random, "listed", &["dependencies"], 20);
    let auto_shutdown = word(random, "never", &["any_significant", "all_significant"], 25);
    let initial_start = word(random, "retry", &["fail"], 50);
    writeln!(
        text,
        "strategy = {strategy:?}\norder = {order:?}\nintensity = {}\nperiod = \"1h\"",
        random.below(4)
    )
    .expect("a string takes everything");
    writeln!(text, "auto_shutdown = {auto_shutdown:?}\ninitial_start = {initial_start:?}")
        .expect("a string takes everything");
    let below = if table.is_empty() { "child".to_owned() } else { format!("{table}.child") };
    let mut left = services;
    let mut elders: Vec<String> = Vec::new();
    while left > 0 {
        let part = if levels < 2 && random.chance(35) { 1 + random.below(left) } else { 1 };
        let nested = part > 1 || (levels < 2 && random.chance(10));
        left -= part;
        let id = format!("{}{}", if nested { "s" } else { "w" }, elders.len());
        writeln!(text, "[[{below}]]\nid = {id:?}").expect("a string takes everything");
        if order == "dependencies" {
            let after: Vec<&String> = elders.iter().filter(|_| random.chance(50)).collect();
            writeln!(text, "after = {after:?}").expect("a string takes everything");
        }
        let restart = match random.below(100) {
            n if n < (if nested { 85 } else { 60 }) => "permanent",
            n if n < (if nested { 93 } else { 85 }) => "transient",
            _ => "temporary",
        };
        let oneshot = !nested && restart != "permanent" && random.chance(20);
        writeln!(text, "restart = {restart:?}").expect("a string takes everything");
        if auto_shutdown != "never" && restart != "permanent" && !oneshot && random.chance(60) {
            text.push_str("significant = true\n");
        }
        if nested {
            supervisor(text, &below, part, random);
        } else {
            worker(text, oneshot, random);
        }
        elders.push(id);
    }
}

fn worker(text: &mut String, oneshot: bool, random: &mut Random) {
    if oneshot {
        text.push_str("kind = \"oneshot\"\n");
        text.push_str(&command("once"));
        return;
    }
    let (how, shutdown) = match random.below(100) {
        n if n < 10 => ("", "shutdown = \"brutal_kill\"\n"),
        n if n < 20 => ("hang", "shutdown = \"200ms\"\n"),
        n if n < 25 => ("", "shutdown = \"infinity\"\n"),
        _ => ("", ""),
    };
    text.push_str(&command(how));
    text.push_str(shutdown);
    text.push_str("ready = { notify = true }\n");
    if random.chance(8) {
        let exhausted = random.pick(&["park", "escalate"]);
        writeln!(
            text,
            "limit = {{ intensity = {}, period = \"1h\", exhausted = {exhausted:?} }}",
            random.below(3)
        )
        .expect("a string takes everything");
    }
}
