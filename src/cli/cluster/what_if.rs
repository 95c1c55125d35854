//! `woodward cluster what-if kill NODE`: what would become of its groups. The answer comes from the same placement that
//! decides when nodes really die.

use super::super::report::{self, Code, Failure};
use super::super::style::{Style, WIDTH, blanks, width, wrap};
use super::super::target::Target;
use super::page::tenths;
use super::{Member, as_json};
use crate::control::client::encode;
use crate::control::cluster::sheet::{Foretold, Sheet};

/// Says what would become of the groups of nodes that die
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// These nodes lose their power at the same moment
    Kill {
        /// Which nodes
        #[arg(required = true)]
        nodes: Vec<String>,
        /// The same as an array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// Says it; nothing is done.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let What::Kill { nodes, json, target } = &args.what;
    let member = Member::find(target)?;
    let nodes = nodes.iter().map(|node| member.node(node)).collect::<Result<Vec<_>, _>>()?;
    let uri = format!("/v1/cluster/foresee?dead={}", encode(&nodes.join(",")));
    let foretold: Vec<Foretold> = member.client.get(&member.endpoint, &uri)?;
    let text =
        if *json { as_json(&foretold)? } else { page(&member.sheet, &nodes, &foretold, Style::here()) };
    report::print(&text);
    Ok(Code::Done)
}

/// The page: each group of the dead in the order of starting, then who is not concerned.
pub fn page(sheet: &Sheet, dead: &[String], foretold: &[Foretold], style: Style) -> String {
    let s = if dead.len() == 1 { "s" } else { "" };
    let mut out =
        format!("if {} die{s} now, as {} sees it; nothing is done\n\n", dead.join(", "), sheet.node);
    if foretold.is_empty() {
        out.push_str("nothing changes: no group runs there\n");
    }
    let name = foretold.iter().map(|one| width(&one.group)).max().unwrap_or(0);
    let to = foretold.iter().filter_map(|one| one.to.as_deref()).map(width).max().unwrap_or(0);
    for one in foretold {
        let front = format!("{:<name$}  {}", one.group, one.from);
        let (place, text) = match (&one.to, &one.why) {
            (Some(node), _) => (format!("to {node:<to$}"), up(sheet, one)),
            (None, why) => {
                ("stays down".to_owned(), why.clone().unwrap_or_else(|| "no node is able".to_owned()))
            }
        };
        let front = format!("{front}  {place}  ");
        let room = WIDTH.saturating_sub(width(&front)).max(24);
        for (n, line) in wrap(&text, room).iter().enumerate() {
            let front = if n == 0 { front.clone() } else { blanks(width(&front)) };
            out.push_str(&format!("{front}{line}\n"));
        }
    }
    let others: Vec<String> = sheet
        .groups
        .iter()
        .filter(|part| !foretold.iter().any(|one| one.group == part.group))
        .map(|part| format!("{} ({})", part.group, part.node.as_deref().unwrap_or("on no node")))
        .collect();
    if !others.is_empty() && !foretold.is_empty() {
        out.push('\n');
        let text = format!("not concerned: {}", others.join(", "));
        wrap(&text, WIDTH).iter().for_each(|line| out.push_str(&format!("{line}\n")));
    }
    style.text(&out)
}

/// `up after 4.2s: wait 3.0s, its last start 1.2s; starts 2nd there`.
fn up(sheet: &Sheet, one: &Foretold) -> String {
    let wait = sheet.node(&one.from).and_then(|node| node.timing).map(|[_, _, wait]| wait);
    let mut text = match (one.predicted, wait, one.start_took) {
        (Some(all), Some(wait), Some(start)) => {
            format!("up after {}: wait {}, its last start {}", tenths(all), tenths(wait), tenths(start))
        }
        (Some(all), ..) => format!("up after {}", tenths(all)),
        (None, Some(wait), None) => format!("{} and its start, which was never measured", tenths(wait)),
        (None, Some(wait), Some(start)) => {
            format!("{}, fencing, and its last start {}", tenths(wait), tenths(start))
        }
        (None, None, _) => "when, is not known".to_owned(),
    };
    if one.order > 1 {
        text.push_str(&format!("; number {} of those that start there", one.order));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples::night;
    use super::*;

    #[test]
    fn where_each_group_goes_in_which_order_and_what_stays_down() {
        let one = |group: &str, to: Option<&str>, why: Option<&str>, order, predicted, start_took| Foretold {
            group: group.to_owned(),
            from: "gas02".to_owned(),
            to: to.map(str::to_owned),
            why: why.map(str::to_owned),
            order,
            predicted,
            start_took,
        };
        let foretold = [
            one("acs", Some("gas03"), None, 1, Some(4200), Some(1200)),
            one("naming-service", Some("gas01"), None, 2, None, None),
            one("mail", Some("gas01"), None, 1, None, Some(800)),
            one(
                "db",
                None,
                Some("gas01: does not beat; gas03: drained by ana (new memory)"),
                0,
                None,
                Some(90),
            ),
        ];
        let text = page(&night(), &["gas02".to_owned()], &foretold, Style::plain(true));
        assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
        insta::assert_snapshot!(text, @r#"
        if gas02 dies now, as gas02 sees it; nothing is done

        acs             gas02  to gas03  up after 4.2s: wait 3.0s, its last start 1.2s
        naming-service  gas02  to gas01  3.0s and its start, which was never measured;
                                         number 2 of those that start there
        mail            gas02  to gas01  3.0s, fencing, and its last start 0.8s
        db              gas02  stays down  gas01: does not beat; gas03: drained by ana
                                           (new memory)

        not concerned: grid (gas03), integral (on no node)
        "#);
    }
}
