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
