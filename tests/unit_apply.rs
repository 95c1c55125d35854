//! `woodward units apply` in a real systemd: what was foretold happens, and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::systemd::Systemd;

const WITH: &str = "--mode native --dir /etc/woodward/trees --program /usr/bin/woodward";

fn child(id: &str, more: &str) -> String {
    format!("[[child]]\nid = {id:?}\ncommand = [\"sleep\", \"1000\"]\nbackoff = false\n{more}\n")
}

fn tree(children: &[String]) -> String {
    format!("id = \"t\"\nstrategy = \"rest_for_one\"\n{}", children.concat())
}

/// One boot; the tree is changed again and again.
struct Applied {
    bed: Systemd,
}

impl Applied {
    fn write(&self, text: &str) {
        self.bed.sh(&format!("cat > /etc/woodward/trees/t.toml <<'END'\n{text}\nEND"));
    }

    fn apply(&self, flags: &str) -> BTreeMap<String, String> {
        let said =
            self.bed.sh(&format!("woodward units apply /etc/woodward/trees/t.toml {WITH} {flags} --json"));
        let said: Vec<Value> = serde_json::from_str(&said).expect("an array");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        said.iter().map(|row| (text(&row["unit"]), text(&row["what"]))).collect()
    }

    /// Unit and main process of all that run of the tree.
    fn mains(&self) -> BTreeMap<String, String> {
        let shown = self.bed.sh("systemctl show -p Id -p MainPID 't*.service'");
        let value = |line: &str| line.split_once('=').map(|(_, value)| value.to_owned());
        let blocks = shown.split("\n\n").map(|block| block.lines().filter_map(value).collect::<Vec<_>>());
        let pairs = blocks.filter_map(|pair| {
            let id = pair.iter().find(|word| word.ends_with(".service"))?;
            Some((id.clone(), pair.iter().find(|word| *word != id)?.clone()))
        });
        pairs.filter(|(_, pid)| pid != "0").collect()
    }

    /// Changes the tree; what the dry run says is what is said and done: units that restart, start and stop.
    fn check(&self, children: &[String], restarts: &str, starts: &str, stops: &str) {
        self.write(&tree(children));
        let before = self.mains();
        let dry = self.apply("--dry-run");
        assert_eq!(self.mains(), before, "a dry run does nothing");
        assert_eq!(self.apply(""), dry);
        let after = self.mains();
        let of = |what: &str| {
            let names = dry.iter().filter(|(name, said)| *said == what && name.ends_with(".service"));
            names.map(|(name, _)| name.trim_end_matches(".service")).collect::<Vec<_>>().join(" ")
        };
        let foretold = [of("restarts"), of("starts"), of("stops")];
        let done = |happened: &dyn Fn(Option<&String>, Option<&String>) -> bool| {
            let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let names = names.into_iter().filter(|name| happened(before.get(*name), after.get(*name)));
            names.map(|name| name.trim_end_matches(".service")).collect::<Vec<_>>().join(" ")
        };
        let done = [
            done(&|old, new| old.is_some() && new.is_some() && old != new),
            done(&|old, new| old.is_none() && new.is_some()),
            done(&|old, new| old.is_some() && new.is_none()),
        ];
        assert_eq!(foretold, [restarts, starts, stops], "{dry:?}");
        assert_eq!(done, foretold, "{before:?}\n{after:?}");
        assert!(self.apply("").is_empty(), "once more changes nothing");
    }
}

#[test]
fn exactly_what_was_foretold_gets_a_new_process() {
    let bed = Systemd::with(&tree(&[child("a", ""), child("b", ""), child("c", "")]), |_, _| {});
    let applied = Applied { bed };
    // A tree that is down is only written.
    applied.apply("");
    assert!(applied.mains().is_empty());
    applied.apply("--now");
    assert_eq!(
        applied.mains().keys().map(String::as_str).collect::<Vec<_>>(),
        ["t-a.service", "t-b.service", "t-c.service", "t.service"]
    );
    let [a, c] = ["a", "c"].map(|id| child(id, ""));
    let with = |id: &str, more: &str| child(id, more);
    let b2 = with("b", "environment = { X = \"1\" }");
    applied.check(&[a.clone(), b2.clone(), c.clone()], "t-b t-c", "", "");
    // What systemd takes over at once.
    let b3 = with("b", "environment = { X = \"1\" }\nshutdown = \"2s\"\ndescription = \"second\"");
    applied.check(&[a.clone(), b3.clone(), c.clone()], "", "", "");
    // One more in the middle, and another goes.
    let n = with("n", "");
    applied.check(&[a.clone(), b3.clone(), n.clone(), c.clone()], "", "t-n", "");
    applied.check(&[b3.clone(), n.clone(), c.clone()], "", "", "t-a");
    // All at once, in order.
    let n2 = with("n", "environment = { X = \"1\" }");
    applied.check(&[a.clone(), b3, n2, c], "t-c t-n", "t-a", "");
    applied.bed.sh("systemctl stop t");
    assert!(applied.mains().is_empty());
}
