use std::path::Path;

use super::*;

fn flags(all: &[(&str, &str)]) -> Vec<Flag> {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(&path, text).expect("written");
    path
}

fn origin<'a>(loaded: &'a Loaded, key: &str) -> (&'a str, &'a str) {
    let said = loaded.said.iter().find(|said| said.key == key).expect("every key is there");
    (&said.value, &said.origin)
}

#[test]
fn every_default_is_allowed_and_typed() {
    for key in keys::KEYS {
        assert_eq!(key.check(key.default), Ok(()), "{}", key.name);
    }
    let settings = Settings::default();
    assert_eq!((settings.history_keep, settings.memory_facts), (keys::Count(7), keys::Size(2 << 20)));
    assert_eq!(load_from(&Sources::default(), &[]).expect("defaults").settings, settings);
}

#[cfg(feature = "config")]
#[test]
fn later_places_win_and_every_value_says_where_it_is_from() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "# for all\nhistory_keep = 1\nhistory_max_size = \"1M\"\nmemory_facts = \"1M\"\n\
                memory_lines = \"1M\"\nmemory_queue = \"1M\"\n";
    let system = write(dir.path(), "etc/woodward.toml", text);
    write(dir.path(), "etc/woodward.toml.d/20-b.toml", "memory_facts = \"3M\"\n");
    let first =
        write(dir.path(), "etc/woodward.toml.d/10-a.toml", "memory_facts = \"2M\"\nhistory_keep = 2\n");
    write(dir.path(), "etc/woodward.toml.d/notes", "nonsense");
    let own = write(dir.path(), "home/woodward.toml", "memory_lines = \"2M\"\nmemory_queue = \"2M\"\n");
    let environment = [("WOODWARD_MEMORY_QUEUE", "3M"), ("WOODWARD_FORMAT", "json")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let sources = Sources { files: vec![system.clone(), own.clone()], named: None, environment };
    let loaded = load_from(&sources, &flags(&[("format", "text")])).expect("all is right");
    let place = |file: &Path, line: u32| format!("{}:{line}", file.display());
    assert_eq!(origin(&loaded, "trees"), ("/etc/woodward/trees", "default"));
    assert_eq!(origin(&loaded, "history_max_size"), ("1M", place(&system, 3).as_str()));
    assert_eq!(origin(&loaded, "history_keep"), ("2", place(&first, 2).as_str()));
    assert_eq!(origin(&loaded, "memory_facts").0, "3M");
    assert_eq!(origin(&loaded, "memory_lines"), ("2M", place(&own, 1).as_str()));
    assert_eq!(origin(&loaded, "memory_queue"), ("3M", "WOODWARD_MEMORY_QUEUE"));
    assert_eq!(origin(&loaded, "format"), ("text", "--set"));
    assert_eq!(loaded.settings.memory_queue.bytes(), 3 << 20);
    assert_eq!(loaded.said.len(), keys::KEYS.len());

    // One file that is named is the only one.
    let sources = Sources { named: Some(own.clone()), ..sources };
    let loaded = load_from(&sources, &[]).expect("all is right");
    assert_eq!(origin(&loaded, "history_keep"), ("7", "default"));
    let sources = Sources { named: Some(dir.path().join("none")), ..sources };
    assert!(load_from(&sources, &[]).expect_err("it is not there").to_string().contains("cannot read it"));
}

#[cfg(feature = "config")]
#[test]
fn everything_wrong_is_said_with_its_place_and_what_is_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "histroy_keep = 1\njournal = \"always\"\nhistory_keep = [1]\nmemory_facts = \"1K\"\nformat = \"jsn\"\n";
    let file = write(dir.path(), "woodward.toml", text);
    let broken = write(dir.path(), "broken.toml", "format = \n");
    let environment = [("WOODWARD_EVICT_WITHIN".to_owned(), "soon".to_owned())].into();
    let sources = Sources { files: vec![file.clone(), broken.clone()], named: None, environment };
    let refused = load_from(&sources, &flags(&[("colour", "red")])).expect_err("nothing of it is right");
    let expected = [
        (
            format!("{}:1:1: error: unknown key `histroy_keep`", file.display()),
            "did you mean `history_keep`?",
        ),
        (format!("{}:2:1: error: journal: unknown word \"always\"", file.display()), "auto, on, off"),
        (format!("{}:3:1: error: history_keep: no value of this kind", file.display()), "0 to 1000"),
        (format!("{}:4:1: error: memory_facts: \"1K\" is out of range", file.display()), "64K to 1G"),
        (format!("{}:5:1: error: format: unknown word", file.display()), "did you mean \"json\"?"),
        (format!("{}:1:", broken.display()), "error"),
        ("WOODWARD_EVICT_WITHIN: error: ".to_owned(), "no duration"),
        ("--set colour=red: error: unknown key `colour`".to_owned(), "allowed: trees, "),
    ];
    assert_eq!(refused.0.len(), expected.len(), "{refused}");
    for (line, (start, middle)) in refused.0.iter().zip(expected) {
        assert!(line.starts_with(&start) && line.contains(middle), "{line}\n{start} … {middle}");
    }
}

#[test]
fn a_variable_that_looks_like_a_setting_is_doubted() {
    let names =
        ["WOODWARD_HISTORY_KEP", "WOODWARD_PATH", "WOODWARD_SOCKET", "WOODWARD_VAR_KEEP", "WOODWARD_BED"];
    let environment = names.map(|name| (name.to_owned(), "1".to_owned())).into();
    let loaded = load_from(&Sources { environment, ..Sources::default() }, &[]).expect("no setting is wrong");
    assert_eq!(loaded.doubtful, ["WOODWARD_HISTORY_KEP is no setting; WOODWARD_HISTORY_KEEP is"]);
}

#[test]
fn the_example_names_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/woodward.toml");
    let text = std::fs::read_to_string(path).expect("the example is there");
    let written: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .map(|(key, value)| {
            let known = keys::find(key).unwrap_or_else(|| panic!("{key} is no key"));
            assert_eq!(value.trim_matches('"'), known.default, "{key}");
            known.name
        })
        .collect();
    assert_eq!(written, keys::names().collect::<Vec<_>>());
}

#[cfg(feature = "config")]
#[test]
fn members_of_etcd_are_a_list_or_a_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let urls = |line: &str| {
        let file = write(dir.path(), "woodward.toml", line);
        let sources = Sources { named: Some(file), ..Sources::default() };
        load_from(&sources, &[]).map(|loaded| loaded.settings.etcd.0)
    };
    let both = vec!["http://a:2379".to_owned(), "https://b:2379".to_owned()];
    assert_eq!(urls("etcd = [\"http://a:2379/\", \"https://b:2379\"]\n"), Ok(both.clone()));
    assert_eq!(urls("etcd = \"http://a:2379,https://b:2379\"\n"), Ok(both));
    assert_eq!(urls("etcd = \"\"\n"), Ok(Vec::new()));
    for wrong in ["\"a:2379\"", "[1]", "\"http://root:secret@a:2379\"", "\"http://:2379\""] {
        assert!(urls(&format!("etcd = {wrong}\n")).is_err(), "{wrong}");
    }
}

#[test]
fn a_node_is_called_as_its_host_unless_it_is_named() {
    let mut settings = Settings::default();
    assert_eq!(settings.node("gas01"), "gas01");
    settings.node = "n1".to_owned();
    assert_eq!(settings.node("gas01"), "n1");
}
