//! Units of a tree put in place and taken away again, on a real systemd.

use crate::systemd::Systemd;

const TREE: &str = r#"
id       = "t"
strategy = "rest_for_one"

[[child]]
id      = "first"
command = ["/bin/sleep", "1001"]

[[child]]
id      = "second"
command = ["/bin/sleep", "1002"]

[[child]]
id      = "third"
command = ["/bin/sleep", "1003"]
"#;

/// A host that starts at boot what no preset forbids, as Debian does.
fn up() -> Systemd {
    let bed = Systemd::up(TREE, |_, text| text);
    bed.sh("rm -r /etc/systemd/system-preset");
    bed
}

const INSTALL: &str = "woodward units install /etc/woodward/trees/t.toml --mode native";

#[test]
fn installed_a_tree_runs_and_removed_it_leaves_no_file_no_link_and_no_process() {
    let bed = up();
    let everything = "find /etc/systemd /run/systemd/system /run/woodward-units/* | sort";
    let before = bed.sh(&format!("{everything}; true"));
    let said = bed.sh(&format!("{INSTALL} --now"));
    assert!(said.ends_with("t.service: enabled; running"), "{said}");
    bed.wait("pgrep -fx '/bin/sleep 1003'");
    assert!(bed.holds("test -L /etc/systemd/system/multi-user.target.wants/t.service"));
    assert!(bed.holds("systemctl cat t-first.service | grep -q Generated"));
    // Again: nothing is touched, and nobody restarted.
    let pid = bed.sh("pgrep -fx '/bin/sleep 1001'");
    bed.sh(&format!("{INSTALL} 2>&1 | grep ' 0 new, 0 changed, 0 removed'"));
    assert_eq!(bed.sh("pgrep -fx '/bin/sleep 1001'"), pid);

    bed.sh("mkdir /etc/systemd/system/t-second.service.d /etc/systemd/system/t-third.service.d");
    bed.sh("echo '[Service]' > /etc/systemd/system/t-third.service.d/mine.conf");
    let said = bed.sh("woodward units remove /etc/woodward/trees/t.toml");
    assert!(said.contains("t-third.service.d stays"), "{said}");
    bed.sh("rm -r /etc/systemd/system/t-third.service.d");
    assert!(!bed.holds("pgrep -x sleep"), "{}", bed.sh("ps ax"));
    bed.wait("! systemctl list-units --all --plain --no-legend 't.*' 't-*' | grep .");
    assert_eq!(bed.sh(&format!("{everything}; true")), before);
}

#[test]
fn a_child_that_the_tree_no_longer_has_is_stopped_alone_and_its_unit_goes() {
    let bed = up();
    bed.sh(&format!("{INSTALL} --now"));
    bed.wait("pgrep -fx '/bin/sleep 1003'");
    let third = bed.sh("pgrep -fx '/bin/sleep 1003'");
    bed.sh("sed -i 's/\"second\"/\"other\"/' /etc/woodward/trees/t.toml");
    let said = bed.sh(&format!("{INSTALL} 2>&1"));
    assert!(!said.contains(" 0 removed"), "{said}");
    assert!(!bed.holds("pgrep -fx '/bin/sleep 1002'") && !bed.holds("systemctl cat t-second.service"));
    assert_eq!(bed.sh("pgrep -fx '/bin/sleep 1003'"), third, "rest_for_one says nothing of a removal");
}

#[test]
fn presets_of_the_host_decide_whether_a_tree_starts_with_it() {
    let bed = up();
    bed.sh("mkdir -p /etc/systemd/system-preset; echo 'disable t.service' > /etc/systemd/system-preset/10-t.preset");
    let said = bed.sh(INSTALL);
    assert!(said.contains("t.service: not enabled"), "{said}");
    assert!(!bed.holds("test -e /etc/systemd/system/multi-user.target.wants/t.service"));
    // What a person has enabled since stays so.
    bed.sh("systemctl enable t.service");
    assert!(bed.sh(INSTALL).contains("t.service: enabled"));
    // Changed by hand: nothing is stopped, nothing removed.
    bed.sh("systemctl start t.service; echo '# mine' >> /etc/systemd/system/t-first.service");
    let said = bed.sh("! woodward units remove t 2>&1");
    assert!(said.contains("t-first.service: it was changed by hand"), "{said}");
    assert!(
        bed.holds("systemctl -q is-active t.service") && bed.holds("test -e /etc/systemd/system/t.service")
    );
    bed.sh("woodward units remove t --force");
    assert!(!bed.holds("test -e /etc/systemd/system/t-first.service"));
}

#[test]
fn another_root_and_a_user_are_installed_for_without_touching_what_runs() {
    let bed = up();
    bed.sh("mkdir -p /tmp/root/etc/systemd/system /tmp/root/usr/lib/systemd/system");
    let said = bed.sh(&format!("{INSTALL} --root /tmp/root"));
    assert!(said.contains("t.service: enabled"), "{said}");
    assert!(bed.holds("test -L /tmp/root/etc/systemd/system/multi-user.target.wants/t.service"));
    assert!(!bed.holds("systemctl cat t.service"));
    bed.sh("woodward units remove t --root /tmp/root");
    assert_eq!(bed.sh("find /tmp/root -type f -o -type l"), "");

    bed.sh("mkdir -p /run/user/0 && systemctl start user@0.service");
    let user = "export XDG_RUNTIME_DIR=/run/user/0 HOME=/root;";
    let said = bed.sh(&format!("{user} {INSTALL} --user-scope --now"));
    assert!(said.contains("t.service: enabled; running"), "{said}");
    assert!(bed.holds("test -e /root/.config/systemd/user/t-first.service"));
    bed.sh(&format!("{user} woodward units remove t --user-scope"));
    assert!(!bed.holds("pgrep -x sleep"), "{}", bed.sh("ps ax"));
}

#[test]
fn a_template_is_put_in_place_and_its_instances_go_with_it() {
    let bed = up();
    bed.sh("sed -i 's/^strategy.*/[vars]\\nn = 1/; s/100\\([12]\\)\"/100${n}\"/' /etc/woodward/trees/t.toml");
    let install = format!("{INSTALL} --template n=1..3");
    let said = bed.sh(&format!("! {install} --now 2>&1"));
    assert!(said.contains("cannot start t@.service: it is a template"), "{said}");
    let said = bed.sh(&format!("{install} 2>&1"));
    assert!(said.contains("systemctl enable --now t@INSTANCE.service"), "{said}");
    bed.sh("systemctl enable --now t@2.service t@3.service");
    bed.wait("pgrep -fx '/bin/sleep 1002' && pgrep -fx '/bin/sleep 1003'");
    bed.sh("woodward units remove t");
    assert!(!bed.holds("pgrep -x sleep"), "{}", bed.sh("ps ax"));
    assert_eq!(bed.sh("find /etc/systemd/system -name 't[-@.]*'"), "");
}
