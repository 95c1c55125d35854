//! Units for a user's manager.

use woodward::units::{Options, Scope};

use super::bed::Bed;

#[test]
fn a_tree_lives_under_a_users_manager_too() {
    let child = |id: &str, script: &str, ready: &str| {
        format!("[[child]]\nid = {id:?}\ncommand = [\"sh\", \"-c\", {script:?}]\nready = {{ {ready} }}\n")
    };
    let tree = format!(
        "id = \"t\"\nstrategy = \"rest_for_one\"\nintensity = 1\nperiod = \"1h\"\n\
         [defaults]\nbackoff = {{ immediate = 1, first = \"100ms\", max = \"1s\" }}\n{}{}",
        child("a", "systemd-notify --ready; exec sleep infinity", "notify = true"),
        child("b", "echo up; exec sleep infinity", "log = \"up\""),
    );
    let options = Options { scope: Scope::User, ..super::options() };
    let rendering = super::render_with(&super::plan("t", &tree), &options);
    let units: Vec<(String, String)> =
        rendering.units.iter().map(|unit| (unit.name.clone(), unit.to_string())).collect();
    let mut bed = Bed::up();
    bed.write(&units, "/etc/systemd/user");
    bed.sh("systemctl start user@0.service; export XDG_RUNTIME_DIR=/run/user/0");
    bed.sh("systemctl --user start --no-block t.service");
    bed.wait("systemctl --user -q is-active t.target t-a t-b");
    let b = bed.sh("systemctl --user show -P InvocationID t-b");
    let crash = "systemctl --user kill --kill-whom=main -s KILL t-a";
    bed.sh(crash);
    // The younger goes along.
    bed.wait(&format!(
        "[ $(systemctl --user show -P InvocationID t-b) != {b} ] && systemctl --user -q is-active t-b"
    ));
    bed.sh(crash);
    bed.wait(
        "[ -z \"$(systemctl --user list-jobs --no-legend)\" ] && ! systemctl --user -q is-active t t-a t-b",
    );
}
