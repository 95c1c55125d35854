//! Standard input and output, and what the journal is told about the lines.

use std::path::PathBuf;

use super::Writer;
use crate::tree::{Output, Stdin, WorkerPlan};
use crate::units::{Deviation, escape};

/// The log file, if it lies in a directory that the service makes itself: systemd would open it before.
pub(super) fn own_log(plan: &WorkerPlan) -> Option<&PathBuf> {
    match &plan.output {
        Output::File { file, .. } if plan.directories.iter().any(|directory| file.starts_with(directory)) => {
            Some(file)
        }
        _ => None,
    }
}

impl Writer<'_> {
    pub(super) fn streams(&mut self) {
        let plan = self.plan;
        match plan.stdin {
            Stdin::Null => {
                self.set("StandardInput", "null", "stdin", "Nothing to read.");
            }
            Stdin::Open => {}
            Stdin::Inherit => {
                self.set("StandardInput", "null", "stdin", "There is nobody to inherit it from.");
                self.deviates(Deviation::Inherit, "`stdin = \"inherit\"`: /dev/null");
            }
        }
        match &plan.output {
            Output::Auto | Output::Journal => {
                self.set("StandardOutput", "journal", "output", "Its lines go to the journal.");
            }
            Output::Inherit => {
                self.set("StandardOutput", "journal", "output", "There is nobody to inherit it from.");
                self.deviates(Deviation::Inherit, "`output = \"inherit\"`: to the journal");
            }
            Output::Null => {
                self.set("StandardOutput", "null", "output", "Nobody reads it.");
            }
            Output::File { file, max_size, .. } => {
                if own_log(plan).is_none() {
                    let file = escape::specifiers(&file.display().to_string());
                    self.set(
                        "StandardOutput",
                        format!("append:{file}"),
                        "output.file",
                        "Appended to this file.",
                    );
                }
                if max_size.is_some() {
                    let text = format!("{} grows: logrotate with copytruncate can do it", file.display());
                    self.deviates(Deviation::LogRotation, text);
                }
            }
        }
        self.set("StandardError", "inherit", "output", "To the same place.");
        self.set(
            "SyslogIdentifier",
            escape::specifiers(&plan.path),
            "",
            "journalctl -t PATH, as under woodward.",
        );
        let leaf = plan.path.rsplit('/').next().unwrap_or_default();
        let fields = [format!("WOODWARD_PATH={}", plan.path), format!("WOODWARD_CHILD={leaf}")];
        let fields = escape::words(fields.iter().map(String::as_str));
        self.set("LogExtraFields", fields, "", "journalctl WOODWARD_PATH=PATH, as under woodward.");
        match plan.log_rate_limit {
            None => self.set("LogRateLimitIntervalSec", "0", "log_rate_limit", "No line is dropped."),
            Some(rate) => {
                let rule = "Lines beyond this are dropped and counted.";
                self.set("LogRateLimitIntervalSec", escape::time(rate.per), "log_rate_limit.per", rule);
                self.set("LogRateLimitBurst", rate.lines.to_string(), "log_rate_limit.lines", rule);
                let text = match plan.output {
                    Output::File { .. } => "no limit for lines that go to a file",
                    Output::Null => return,
                    _ => "journald lets more pass while there is much room on its disk",
                };
                self.deviates(Deviation::LogRate, format!("`log_rate_limit`: {text}"));
            }
        }
    }
}
