//! The command line as an operator has it: what each verb prints, and how it ends.

mod acting;
mod asking;
mod refusing;

use std::process::Output;

use crate::bed::Bed;

/// A web service that says when it is ready, and a pair of which the second goes with the first.
const TREE: &str = r#"
id = "t"

[[child]]
id        = "web"
command   = ["sh", "-c", "echo listening on port 80; exec sleep 1000"]
ready.log = "listening"

[[child]]
id       = "pair"
strategy = "rest_for_one"

  [[child.child]]
  id      = "first"
  command = ["sh", "-c", "echo first is here; exec sleep 1000"]

  [[child.child]]
  id      = "second"
  command = ["sleep", "1000"]
"#;

/// Runs a client command that must end with this code; what it printed, errors last.
fn check(bed: &Bed, args: &[&str], code: i32, texts: &[&str]) -> String {
    let Output { status, stdout, stderr } = bed.client(args);
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "woodward {args:?}\n{text}");
    for wanted in texts {
        assert!(text.contains(wanted), "no {wanted:?} from woodward {args:?}:\n{text}");
    }
    for line in text.lines() {
        assert!(!line.contains("panicked") && !line.contains("os error"), "{line}");
    }
    text
}
