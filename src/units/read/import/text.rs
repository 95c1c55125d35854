//! The text of a tree file.

use std::fmt::Write as _;

/// A supervisor or a worker, as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Comments above it, without `# `.
    pub comments: Vec<String>,
    /// Key and value, in order.
    pub lines: Vec<(String, String)>,
    /// Ids of siblings it starts behind.
    pub after: Vec<String>,
    /// A supervisor's.
    pub children: Vec<Node>,
}

/// A string.
pub fn string(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

/// A list of strings.
pub fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| string(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A table on one line: names are quoted where they must be.
pub fn table<K: AsRef<str>>(pairs: impl IntoIterator<Item = (K, String)>) -> String {
    let name = |name: &str| {
        let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if bare { name.to_owned() } else { string(name) }
    };
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{} = {value}", name(key.as_ref()))).collect();
    if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
}

/// What an id may hold.
pub fn id(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.:@-".contains(c) { c } else { '_' }).collect()
}

impl Node {
    /// Adds a line.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.lines.push((key.to_owned(), value.into()));
    }

    /// The tree of which this is the root.
    pub fn root(&self) -> String {
        let mut out = String::new();
        comments(&mut out, "", &self.comments);
        self.own(&mut out, "");
        self.children.iter().for_each(|child| child.child(&mut out, "child", ""));
        out
    }

    fn own(&self, out: &mut String, indent: &str) {
        let mut lines = vec![("id", string(&self.id))];
        if !self.after.is_empty() {
            lines.push(("after", list(&self.after)));
        }
        lines.extend(self.lines.iter().map(|(key, value)| (&**key, value.clone())));
        for (key, value) in lines {
            writeln!(out, "{indent}{key} = {value}").expect("a string takes everything");
        }
    }

    fn child(&self, out: &mut String, header: &str, indent: &str) {
        out.push('\n');
        comments(out, indent, &self.comments);
        writeln!(out, "{indent}[[{header}]]").expect("a string takes everything");
        self.own(out, indent);
        let deeper = format!("{indent}  ");
        self.children.iter().for_each(|child| child.child(out, &format!("{header}.child"), &deeper));
    }
}

fn comments(out: &mut String, indent: &str, comments: &[String]) {
    for line in comments.iter().flat_map(|comment| comment.lines()) {
        writeln!(out, "{indent}# {line}").expect("a string takes everything");
    }
}
