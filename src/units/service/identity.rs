//! Who a process is, and where it runs.

use std::path::Path;

use super::Writer;
use super::command::is_made;
use crate::tree::Resource;
use crate::units::{Scope, escape};

impl Writer<'_> {
    pub(super) fn identity(&mut self) {
        let identity = &self.plan.identity;
        if let Some(user) = identity.user.as_ref().filter(|_| !self.not_for_users("user")) {
            self.set("User", escape::specifiers(user), "user", "Who it runs as; with the user's groups.");
        }
        if let Some(group) = identity.group.as_ref().filter(|_| !self.not_for_users("group")) {
            self.set("Group", escape::specifiers(group), "group", "Instead of the user's own group.");
        }
        let groups = &identity.supplementary_groups;
        if !groups.is_empty() && !self.not_for_users("supplementary_groups") {
            let words = escape::words(groups.iter().map(String::as_str));
            self.set("SupplementaryGroups", words, "supplementary_groups", "Further groups.");
        }
        if let Some(umask) = identity.umask {
            self.set("UMask", format!("{umask:04o}"), "umask", "Bits that new files do not get.");
        }
        if let Some(nice) = identity.nice.filter(|nice| *nice >= 0 || !self.not_for_users("nice")) {
            self.set("Nice", nice.to_string(), "nice", "Scheduling priority.");
        }
        let oom = identity.oom_score_adjust;
        if let Some(oom) = oom.filter(|oom| *oom >= 0 || !self.not_for_users("oom_score_adjust")) {
            self.set("OOMScoreAdjust", oom.to_string(), "oom_score_adjust", "Whom the kernel kills first.");
        }
        for (resource, soft, hard) in &identity.limits {
            let one =
                |number: u64| if number == u64::MAX { "infinity".to_owned() } else { number.to_string() };
            let value = if soft == hard { one(*soft) } else { format!("{}:{}", one(*soft), one(*hard)) };
            self.set(limit(*resource), value, "limits", "setrlimit(2): soft and hard limit.");
        }
        if let Some(directory) = &self.plan.working_directory {
            let value = self.absolute(directory);
            let made = is_made(&self.plan.directories, directory);
            let (may_miss, rule) = if made {
                ("-", "It may be missing while it is being made by ExecStartPre=.")
            } else {
                ("", "Where it runs.")
            };
            self.set("WorkingDirectory", format!("{may_miss}{value}"), "working_directory", rule);
        }
    }

    /// A relative path begins where the manager runs: at the root of the system, in the home of a user.
    pub(super) fn absolute(&self, path: &Path) -> String {
        let text = escape::specifiers(&path.display().to_string());
        match self.options.scope {
            _ if path.is_absolute() => text,
            Scope::System => format!("/{text}"),
            Scope::User => format!("%h/{text}"),
        }
    }
}

fn limit(resource: Resource) -> &'static str {
    match resource {
        Resource::As => "LimitAS",
        Resource::Core => "LimitCORE",
        Resource::Cpu => "LimitCPU",
        Resource::Data => "LimitDATA",
        Resource::Fsize => "LimitFSIZE",
        Resource::Locks => "LimitLOCKS",
        Resource::Memlock => "LimitMEMLOCK",
        Resource::Msgqueue => "LimitMSGQUEUE",
        Resource::Nice => "LimitNICE",
        Resource::Nofile => "LimitNOFILE",
        Resource::Nproc => "LimitNPROC",
        Resource::Rss => "LimitRSS",
        Resource::Rtprio => "LimitRTPRIO",
        Resource::Rttime => "LimitRTTIME",
        Resource::Sigpending => "LimitSIGPENDING",
        Resource::Stack => "LimitSTACK",
    }
}
