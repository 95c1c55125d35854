//! A static program begins with its own first instructions: they block every signal, then go on to `_start`. Under a
//! dynamic loader they would come too late; see `src/keeper/first.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo:rustc-link-arg-bins=-Wl,-e,woodward_entry");
    }
}
