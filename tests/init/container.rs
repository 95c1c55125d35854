//! The image of `examples/container`, without a container engine.

use super::*;

#[test]
fn the_image_comes_up_is_healthy_recovers_and_ends_with_the_essential_code() {
    let tried = Command::new(bed::repository("examples/container/try"))
        .arg(bed::program())
        .output()
        .expect("the script can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(tried.status.success(), "{}{}", text(&tried.stdout), text(&tried.stderr));
    assert!(text(&tried.stdout).ends_with("stopped in order, exit code 3 of the essential service\n"));
}

#[test]
fn the_tree_of_the_image_has_no_errors() {
    let tree = bed::repository("examples/container/tree.toml");
    let out = Command::new(bed::program()).args(["check", "--init"]).arg(tree).output().expect("it starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // The programs are in the image, not here.
    let other = text.lines().filter(|line| line.contains(": warning:") && !line.contains("on this host"));
    assert_eq!(other.count(), 0, "{text}");
    assert!(out.status.success(), "{text}");
}
