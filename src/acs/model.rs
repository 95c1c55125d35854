//! What a deployment says that matters to a tree: one manager, containers, components, channels.

use std::time::Duration;

use crate::tree::Span;

/// A deployment as the files say it.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// How often the manager asks its containers.
    pub manager: Manager,
    /// Containers, by name.
    pub containers: Vec<Container>,
    /// Components, in the order of their files.
    pub components: Vec<Component>,
    /// Notification services besides those every ACS has, by their names without `EventChannelFactory`.
    pub channels: Vec<String>,
    /// What the command centre's project says.
    pub project: Option<Project>,
    /// What a definition for the services daemon says.
    pub definition: Option<Definition>,
    /// Attributes and elements that were read over because ACS itself goes by them, each with its count.
    pub left_to_acs: std::collections::BTreeMap<String, usize>,
    /// Files that are no records.
    pub strays: Vec<String>,
    /// Directories of another kind, each with the number of its files.
    pub unknown: std::collections::BTreeMap<String, usize>,
}

/// The manager's record.
#[derive(Clone, Debug)]
pub struct Manager {
    /// How often it asks each container; three misses in a row and the container is logged out.
    pub ping: Duration,
    /// Components it activates as soon as their container is there.
    pub startup: Vec<String>,
    /// Hosts with a services daemon.
    pub daemons: Vec<String>,
}

impl Default for Manager {
    fn default() -> Manager {
        Manager { ping: Duration::from_secs(30), startup: Vec::new(), daemons: Vec::new() }
    }
}

/// Which program runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lang {
    /// C++.
    Cpp,
    /// Java.
    Java,
    /// Python.
    Py,
}

impl Lang {
    /// As the database writes it.
    pub const WORDS: [(&'static str, Lang); 3] = [("cpp", Lang::Cpp), ("java", Lang::Java), ("py", Lang::Py)];

    /// As the database writes it.
    pub fn word(self) -> &'static str {
        Lang::WORDS.iter().find(|(_, lang)| *lang == self).map_or("", |(word, _)| word)
    }

    /// As people call it.
    pub fn title(self) -> &'static str {
        match self {
            Lang::Cpp => "C++",
            Lang::Java => "Java",
            Lang::Py => "Python",
        }
    }
}

/// A container's record.
#[derive(Clone, Debug)]
pub struct Container {
    /// Full name, parts split by `/`.
    pub name: String,
    /// Its language. `None`: not said.
    pub lang: Option<Lang>,
    /// How often it is asked whether it lives, if not as the manager does with all.
    pub ping: Option<Duration>,
    /// It needs the interface repository.
    pub use_ifr: bool,
    /// Its place by DeployInfo.
    pub host: Host,
    /// The manager has it started when a component is wanted; so it is nobody's child.
    pub on_demand: bool,
    /// Words added to its command line.
    pub flags: Vec<String>,
    /// Words like `archiveContainer`.
    pub modifiers: Vec<String>,
    pub(crate) place: Span,
}

/// Where a record says that a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Not said.
    Unsaid,
    /// Anywhere.
    Any,
    /// There.
    Named(String),
}

/// A component's record.
#[derive(Clone, Debug)]
pub struct Component {
    /// Full name, parts split by `/`; `*` is one made on request.
    pub name: String,
    /// Its container. `None`: any.
    pub container: Option<String>,
    /// Its language.
    pub lang: Option<Lang>,
    /// Loaded as soon as its container is there.
    pub autostart: bool,
    pub(crate) place: Span,
}

impl Component {
    /// It has no name of its own.
    pub fn is_wildcard(&self) -> bool {
        self.name.contains('*')
    }
}

/// A project of the command centre.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// The instance.
    pub instance: Option<u8>,
    /// Host of the services, and of containers without their own settings.
    pub host: Option<String>,
    /// Account of the services.
    pub account: Option<String>,
    /// Its containers, in its order.
    pub containers: Vec<ProjectContainer>,
}

/// A container of a project.
#[derive(Clone, Debug)]
pub struct ProjectContainer {
    /// Full name.
    pub name: String,
    /// Its language.
    pub lang: Option<Lang>,
    /// Its host, if it has its own settings.
    pub host: Option<String>,
    /// Its account, if it has its own settings.
    pub account: Option<String>,
    /// Instance of its own settings.
    pub instance: Option<u8>,
    /// Heap of a Java container, in MB.
    pub heap: Option<u32>,
    /// Words like `archiveContainer`.
    pub modifiers: Vec<String>,
    pub(crate) place: Span,
}

/// A definition of services for the services daemon.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// The instance.
    pub instance: Option<u8>,
    /// Host of the manager.
    pub host: Option<String>,
    /// The database is a relational one.
    pub relational: bool,
    /// Notification services with a name that not every ACS has.
    pub channels: Vec<String>,
}
