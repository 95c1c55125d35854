//! Shapes of databases that sites have.

use super::model::{Host, Lang};
use super::*;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), shown: path.to_owned(), bytes: text.as_bytes().to_vec() }
}

fn of(records: &[(&str, &str)]) -> Input {
    Input { records: records.iter().map(|(path, text)| file(path, text)).collect(), ..Input::default() }
}

const MANAGER: (&str, &str) = ("Managers/Manager/Manager.xml", "<Manager ContainerPingInterval=\"2.5\"/>");

#[test]
fn a_container_is_read_by_its_directories() {
    let input = of(&[
        MANAGER,
        ("Containers/A/B/B.xml", "<c:Container xmlns:c='urn:x' ImplLang='py' PingInterval='5' UseIFR='0'/>"),
        ("Containers/A/B/B_old.xml", "<Container ImplLang='no such'"),
        (
            "Containers/C/C.xml",
            "<Container ImplLang='java'><DeployInfo Host='*' StartOnDemand='1'/></Container>",
        ),
    ]);
    let (deployment, said) = read(&input).expect("no error");
    assert_eq!(said, []);
    let [b, c] = &deployment.containers[..] else { panic!("two containers") };
    assert_eq!((b.name.as_str(), b.lang, b.use_ifr, &b.host), ("A/B", Some(Lang::Py), false, &Host::Unsaid));
    assert_eq!(b.ping, Some(std::time::Duration::from_secs(5)));
    assert_eq!((c.name.as_str(), c.on_demand, &c.host), ("C", true, &Host::Any));
    assert_eq!(deployment.strays, ["Containers/A/B/B_old.xml"]);
    assert_eq!(deployment.manager.ping, std::time::Duration::from_millis(2500));
}

#[test]
fn components_are_named_by_their_form() {
    let input = of(&[
        MANAGER,
        (
            "Components/Components.xml",
            "<Components><_ Name='A/B' Container='C' Autostart='1'/><e Name='*' Container='*'/></Components>",
        ),
        ("Components/D/E/E.xml", "<Component Name='E' Container='C'/>"),
        (
            "Components/F/G/G.xml",
            "<HierarchicalComponent Name='G' Container='C'><_ Name='H' Container='C'><e Name='I' Container='K'/></_></HierarchicalComponent>",
        ),
    ]);
    let (deployment, said) = read(&input).expect("no error");
    assert_eq!(said, []);
    let names: Vec<&str> = deployment.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["A/B", "*", "D/E", "F/G", "F/G/H", "F/G/H/I"]);
    assert!(deployment.components[0].autostart);
    assert_eq!(deployment.components[1].container, None);
}

fn containers(names: &[&str], attributes: &str) -> Input {
    let text = format!("<Container {attributes}/>");
    let record = |name: &&str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        file(&format!("Containers/{name}/{last}.xml"), &text)
    };
    Input {
        records: names.iter().map(record).chain([file(MANAGER.0, MANAGER.1)]).collect(),
        ..Input::default()
    }
}

fn options(instance: u8) -> Options {
    Options {
        instance: Some(instance),
        manager_host: Some("gas01".to_owned()),
        hosts: vec![(None, "gas01".to_owned())],
        here: "here".to_owned(),
        there: BTreeMap::new(),
    }
}

/// What is wrong, a line each.
fn refused(input: &Input, options: &Options) -> String {
    match import(input, options) {
        Ok(_) => panic!("it was taken"),
        Err(said) => said.iter().map(|said| said.message.clone() + "\n").collect(),
    }
}

#[test]
fn instances_but_the_first_have_25_ports_on_a_host() {
    let names: Vec<String> = (0..26).map(|n| format!("c{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = containers(&names, "ImplLang='cpp'");
    assert_eq!(
        refused(&many, &options(3)),
        "gas01 has 26 containers, and instance 3 has ports for 25 on a host\n"
    );
    assert!(import(&many, &options(0)).is_ok());
    let mut spread = options(3);
    spread.hosts.push((Some("c25".to_owned()), "gas02.site.example".to_owned()));
    let import = import(&many, &spread).expect("25 and 1");
    assert_eq!(import.trees.keys().collect::<Vec<_>>(), ["gas01", "gas02"]);
    assert!(
        import.trees["gas01"].contains("${ports + 48}") && !import.trees["gas01"].contains("${ports + 50}")
    );
}

#[test]
fn containers_that_would_have_one_name_in_the_tree_are_refused() {
    let two = containers(&["A/B", "A:B"], "ImplLang='cpp'");
    assert_eq!(refused(&two, &options(0)), "A:B and A/B on gas01 would both be called A:B in the tree\n");
}

#[test]
fn hosts_are_said_by_the_command_line_the_record_the_project_and_the_manager_in_this_order() {
    let check = |hosts: &[(Option<&str>, &str)], record: &str, project: Option<&str>, host: &str| {
        let mut input = containers(&[], "");
        input
            .records
            .push(file("Containers/C/C.xml", &format!("<Container ImplLang='py'>{record}</Container>")));
        input.project = project.map(|text| {
            let all = format!("<containers><container><name>C</name>{text}</container></containers>");
            file(
                "p",
                &format!(
                    "<AcsCommandCenterProject><remoteHost>p1</remoteHost>{all}</AcsCommandCenterProject>"
                ),
            )
        });
        let hosts = hosts.iter().map(|(of, host)| (of.map(str::to_owned), (*host).to_owned())).collect();
        let import = import(&input, &Options { hosts, ..options(0) }).expect("no error");
        let with = |text: &&String| text.contains("\"C\"");
        assert_eq!(
            import.trees.iter().find(|(_, text)| with(text)).map(|(host, _)| host.as_str()),
            Some(host)
        );
    };
    let own = "<useDedicatedSettings>true</useDedicatedSettings><remoteHost>p2</remoteHost>";
    let record = "<DeployInfo Host='r.example.org'/>";
    check(&[(Some("C"), "c"), (None, "d")], record, Some(own), "c");
    check(&[(None, "d")], record, Some(own), "r");
    check(&[(None, "d")], "", Some(own), "p2");
    check(&[(None, "d")], "", Some(""), "p1");
    check(&[(None, "d")], "", None, "d");
    check(&[], "", None, "gas01");
    check(&[], "<DeployInfo Host='*'/>", None, "gas01");
    check(&[], "<DeployInfo Host='localhost'/>", None, "gas01");
    check(&[], "<DeployInfo Host='10.0.0.7'/>", None, "10.0.0.7");
}

#[test]
fn whatever_names_are_made_of_the_tree_is_toml() {
    let names = ["a\"b", "c\\d", "e${x}f", "ä ö", "#", "-x", "g'h", "i\tk"];
    let mut input = containers(&names, "ImplLang='java'");
    let project: String = names
        .iter()
        .map(|name| format!("<container><name>{}</name></container>", name.replace('&', "&amp;")))
        .collect();
    let project = format!(
        "<AcsCommandCenterProject><remoteAccount>a\"${{b}}</remoteAccount><containers>{project}</containers></AcsCommandCenterProject>"
    );
    input.project = Some(file("p", &project));
    let import = import(&input, &options(0)).expect("no error");
    let tree: toml::Table = import.trees["gas01"].parse().expect("TOML");
    let groups = tree["child"].as_array().expect("children").iter();
    let group = groups.clone().find(|child| child["id"].as_str() == Some("containers")).expect("containers");
    let mut commands: Vec<&str> = group["child"]
        .as_array()
        .expect("containers")
        .iter()
        .map(|child| child["command"][2].as_str().expect("a name"))
        .collect();
    commands.sort_unstable();
    assert_eq!(commands, ["#", "-x", "a\"b", "c\\d", "e$${x}f", "g'h", "i\tk", "ä ö"]);
}

#[test]
fn an_imported_tree_is_known_as_one() {
    let import = import(&containers(&["C"], "ImplLang='cpp'"), &options(0)).expect("no error");
    assert_eq!(hand(&import.trees["gas01"]), Hand::Import);
}
