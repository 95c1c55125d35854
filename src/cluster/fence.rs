//! Power fencing by the convention of the fence agents: a command that reads `name=value` lines and switches a node off.
//!
//! The agents that a tree names are asked in turn until one succeeds. An agent has succeeded when `action=off` ended with 0
//! and, if it can tell, `action=status` says that the node is off (exit 2). One that has failed is asked again the next time:
//! a power controller that was being restarted must not stay "failed" until somebody comes. What the options file says
//! (passwords) is in no argument, no environment and no record.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::command::{self, Ended};
use crate::os::{ExitStatus, Os};
use crate::tree::failover::Agent;

/// Exit code of `action=status`: it is off.
const OFF: ExitStatus = ExitStatus::Code(2);
/// Between two questions whether it is off by now.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Options of a name that has one of these in it are secret.
const SECRET: [&str; 6] = ["pass", "secret", "token", "key", "auth", "community"];

/// Cuts the power of a node by one of these agents. Else, of each, why not.
pub async fn fence(os: &Os, node: &str, agents: &[Agent]) -> Result<(), String> {
    let able: Vec<&Agent> = agents
        .iter()
        .filter(|agent| agent.nodes.is_empty() || agent.nodes.iter().any(|able| **able == *node))
        .collect();
    let mut said = Vec::new();
    for agent in able {
        match switched_off(os, node, agent).await {
            Ok(()) => return Ok(()),
            Err(why) => {
                let name = agent.command.first().map_or("", String::as_str);
                said.push(format!("{}: {why}", name.rsplit('/').next().unwrap_or(name)));
            }
        }
    }
    Err(if said.is_empty() { format!("no fence agent is named for {node}") } else { said.join("; ") })
}

async fn switched_off(os: &Os, node: &str, agent: &Agent) -> Result<(), String> {
    let until = Instant::now() + agent.within;
    let options = Options::read(agent.options_file.as_deref(), node)?;
    let asked = async |action: &str| {
        let left = until.saturating_duration_since(Instant::now());
        let name = format!("+fence-{node}");
        let asked = command::run(os, &name, &agent.command, options.with(action).as_bytes(), left).await;
        asked.map_err(|why| options.hidden(&format!("action={action}: {why}")))
    };
    let said = |action: &str, ended: &Ended| options.hidden(&format!("action={action}: {}", ended.said()));
    let off = asked("off").await?;
    if off.status != ExitStatus::Code(0) {
        return Err(said("off", &off));
    }
    loop {
        match asked("status").await {
            Ok(ended) if ended.status == OFF => return Ok(()),
            // It was switched off and is on: an agent that does not wait, or one that switches something else.
            Ok(ended) if ended.status == ExitStatus::Code(0) => {
                if Instant::now() + ASK_AGAIN >= until {
                    return Err("it says that the node was switched off, and that it is on".to_owned());
                }
                sleep(ASK_AGAIN).await;
            }
            // It cannot tell: its word for `off` is all there is.
            Ok(_) => return Ok(()),
            Err(why) => return Err(format!("{why}, after action=off was done")),
        }
    }
}

/// Options for one node.
#[derive(Debug, PartialEq, Eq)]
struct Options(Vec<(String, String)>);

impl Options {
    fn read(file: Option<&Path>, node: &str) -> Result<Options, String> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read its options in {}: {error}", file.display()))?,
            None => String::new(),
        };
        Ok(Options::of(&text, node))
    }

    /// Lines `name=value`; others, and what begins with `#`, are none. The action is not the file's to say.
    fn of(text: &str, node: &str) -> Options {
        let mut options: Vec<(String, String)> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().replace("{node}", node)))
            .filter(|(name, _)| !name.is_empty() && name != "action" && name != "option")
            .collect();
        // What the node is called in the power controller may be said in the file.
        if !options.iter().any(|(name, _)| name == "plug" || name == "port") {
            options.push(("plug".to_owned(), node.to_owned()));
        }
        Options(options)
    }

    /// What an agent reads.
    fn with(&self, action: &str) -> String {
        let mut text = format!("action={action}\n");
        for (name, value) in &self.0 {
            text += &format!("{name}={value}\n");
        }
        text
    }

    /// Words of an agent without the secrets that it may repeat.
    fn hidden(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for (name, value) in &self.0 {
            if !value.is_empty() && SECRET.iter().any(|secret| name.to_lowercase().contains(secret)) {
                words = words.replace(value, "***");
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_the_node_and_never_the_action() {
        let text =
            "# of the rack\nip = 10.0.0.9\npasswd=s3cret\nplug={node}-ipmi\naction=reboot\nnonsense\n=x\n";
        let options = Options::of(text, "h2");
        assert_eq!(options.with("off"), "action=off\nip=10.0.0.9\npasswd=s3cret\nplug=h2-ipmi\n");
        assert_eq!(Options::of("", "h2").with("status"), "action=status\nplug=h2\n");
        assert_eq!(
            options.hidden("login failed with s3cret at 10.0.0.9"),
            "login failed with *** at 10.0.0.9"
        );
    }
}
