//! Two more files that know about hosts: a saved project of the command centre, and a definition of services as the
//! services daemon takes it. A project may hold passwords; they are not even looked at.

use super::File;
use super::model::{Definition, Lang, Project, ProjectContainer};
use super::read;
use super::xml::{Element, Said};
use crate::tree::Report;

const PROJECT_ATTRIBUTES: [&str; 2] = ["creator", "version"];
const PROJECT: [&str; 6] =
    ["mode", "scriptBase", "remoteHost", "remoteAccount", "remotePassword", "containers"];
const CONTAINER: [&str; 10] = [
    "name",
    "type",
    "typeModifier",
    "heapSizeMB",
    "useDedicatedSettings",
    "scriptBase",
    "remoteHost",
    "remoteAccount",
    "remotePassword",
    "containerType",
];
const SERVICES: [&str; 9] = [
    "naming_service",
    "interface_repository",
    "notification_service",
    "logging_service",
    "acs_log",
    "cdb",
    "rdb_cdb",
    "alarm_service",
    "manager",
];
const SERVICE_ATTRIBUTES: [&str; 9] =
    ["host", "name", "domain", "cdb_xml_dir", "config_name", "load", "wait_load", "recovery", "parallel"];

/// Reads a project.
pub(super) fn project(report: &mut Report, file: &File) -> Option<Project> {
    read::whole(report, file, |report, root| {
        if root.name() != "AcsCommandCenterProject" {
            let message = format!("{} where AcsCommandCenterProject is expected", root.name());
            report.error(root.span(), message);
            return None;
        }
        root.strangers(report, &PROJECT_ATTRIBUTES, &PROJECT);
        let mut project = Project {
            instance: instance(report, root, "scriptBase"),
            host: text(root, "remoteHost"),
            account: text(root, "remoteAccount"),
            containers: Vec::new(),
        };
        let all = root.child("containers");
        for element in all.iter().flat_map(Element::children).filter(|child| child.name() == "container") {
            element.strangers(report, &[], &CONTAINER);
            project.containers.extend(container(report, element));
        }
        Some(project)
    })
    .flatten()
}

/// Text of a child element, if there is any.
fn text(of: Element<'_, '_>, name: &str) -> Option<String> {
    of.child(name).map(|child| child.text().to_owned()).filter(|text| !text.is_empty())
}

fn instance(report: &mut Report, of: Element<'_, '_>, name: &str) -> Option<u8> {
    let child = of.child(name).filter(|child| !child.text().is_empty())?;
    numbered(report, Said { value: child.text(), span: child.span() }, name)
}

fn numbered(report: &mut Report, said: Said<'_>, name: &str) -> Option<u8> {
    let number = said.value.parse::<u8>().ok().filter(|number| *number <= 9);
    if number.is_none() {
        report.error(said.span, format!("{name} is an instance, not \"{}\"", said.value)).allowed("0 to 9");
    }
    number
}

fn container(report: &mut Report, element: Element<'_, '_>) -> Option<ProjectContainer> {
    let Some(name) = text(element, "name") else {
        report.error(element.span(), "a container without a name");
        return None;
    };
    let own = text(element, "useDedicatedSettings").is_some_and(|text| text == "true" || text == "1");
    let modifiers = element.children().filter(|child| child.name() == "typeModifier");
    Some(ProjectContainer {
        lang: lang(report, element),
        host: text(element, "remoteHost").filter(|_| own),
        account: text(element, "remoteAccount").filter(|_| own),
        instance: if own { instance(report, element, "scriptBase") } else { None },
        heap: heap(report, element),
        modifiers: modifiers.map(|child| child.text().to_owned()).filter(|text| !text.is_empty()).collect(),
        place: element.span(),
        name,
    })
}

fn lang(report: &mut Report, element: Element<'_, '_>) -> Option<Lang> {
    let child = element.child("type").filter(|child| !child.text().is_empty())?;
    let lang = read::word(child.text());
    if lang.is_none() {
        report
            .error(child.span(), format!("type is a language, not \"{}\"", child.text()))
            .allowed("cpp, java, py");
    }
    lang
}

fn heap(report: &mut Report, element: Element<'_, '_>) -> Option<u32> {
    let child = element.child("heapSizeMB").filter(|child| !child.text().is_empty())?;
    let heap = child.text().parse().ok().filter(|heap| *heap > 0);
    if heap.is_none() {
        report.error(child.span(), format!("heapSizeMB is a number of megabytes, not \"{}\"", child.text()));
    }
    heap
}

/// Reads a definition of services.
pub(super) fn definition(report: &mut Report, file: &File) -> Option<Definition> {
    read::whole(report, file, |report, root| {
        if root.name() != "acs_services_definition" {
            let message = format!("{} where acs_services_definition is expected", root.name());
            report.error(root.span(), message);
            return None;
        }
        root.strangers(report, &["instance", "free_instance"], &SERVICES);
        let instance = root.get("instance");
        let mut definition = Definition {
            instance: instance.and_then(|said| numbered(report, said, "instance")),
            ..Definition::default()
        };
        let manager = root.child("manager").and_then(|manager| manager.get("host"));
        definition.host = manager.map(|said| said.value.to_owned());
        for service in root.children() {
            service.strangers(report, &SERVICE_ATTRIBUTES, &[]);
            definition.relational |= service.name() == "rdb_cdb";
            if let (Some(host), Some(main)) = (service.get("host"), &definition.host)
                && host.value != main
            {
                let message =
                    format!("{} on another host than the manager: the tree has it on {main}", service.name());
                report.warning(host.span, message);
            }
            if service.name() == "notification_service"
                && let Some(name) = service.get("name")
            {
                read::add_channel(&mut definition.channels, name.value);
            }
        }
        Some(definition)
    })
    .flatten()
}
