//! What holds between the trees of one node: those with `[failover]` have one rhythm, no address twice, and wishes about
//! each other that can come true.

use std::collections::BTreeSet;

use super::failover::Failover;
use super::plan::Plan;
use super::units;

/// What contradicts itself among these trees, in words behind `cannot run: `.
pub fn contradictions(plans: &[Plan]) -> Vec<String> {
    let groups: Vec<&Failover> = plans.iter().filter_map(|plan| plan.failover.as_ref()).collect();
    let mut wrong = Vec::new();
    for (n, second) in groups.iter().enumerate() {
        for first in &groups[..n] {
            let (a, b) = (&first.group.name, &second.group.name);
            if first.timing != second.timing {
                wrong.push(format!(
                    "{a} has the timing {} and {b} {}: a node has one",
                    timing(first),
                    timing(second)
                ));
            }
            let twice = |address: &&super::failover::Address| {
                first.addresses.iter().any(|other| other.ip == address.ip)
            };
            if let Some(address) = second.addresses.iter().find(twice) {
                wrong.push(format!("{a} and {b} both have the address {}", address.ip));
            }
        }
    }
    for (n, first) in groups.iter().enumerate() {
        let company = company(&groups, n);
        let together: Vec<&&Failover> = company.iter().map(|at| &groups[*at]).collect();
        // Each company is looked at once.
        if company.first() != Some(&n) || company.len() < 2 {
            continue;
        }
        for one in &together {
            for other in together.iter().filter(|other| one.group.apart.contains(&other.group.name)) {
                wrong.push(format!(
                    "{} must be apart from {}, and `with` wants both on one node",
                    one.group.name, other.group.name
                ));
            }
        }
        let shared = |node: &&woodward_engine::cluster::Name| {
            together.iter().all(|one| one.group.nodes.contains(node))
        };
        if !first.group.nodes.iter().any(|node| shared(&node)) {
            let names: Vec<&str> = together.iter().map(|one| &*one.group.name).collect();
            wrong.push(format!(
                "{} are to be together, and no node is in all their `nodes`",
                names.join(", ")
            ));
        }
    }
    wrong
}

/// The groups that must share a node with the n-th, directly or not, in order.
fn company(groups: &[&Failover], n: usize) -> BTreeSet<usize> {
    let mut company = BTreeSet::from([n]);
    loop {
        let wanted = |at: usize, other: usize| groups[at].group.with.contains(&groups[other].group.name);
        let more: Vec<usize> = (0..groups.len())
            .filter(|new| !company.contains(new))
            .filter(|new| company.iter().any(|at| wanted(*at, *new) || wanted(*new, *at)))
            .collect();
        if more.is_empty() {
            return company;
        }
        company.extend(more);
    }
}

fn timing(failover: &Failover) -> String {
    let timing = failover.timing;
    [timing.beat, timing.hold, timing.wait].map(units::show).join("/")
}
