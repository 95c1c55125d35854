//! The rules of the cluster, one by one, in a small world: a register that answers at once, keepers and trees that do as
//! they are told.

#[path = "cluster/rules/deadline.rs"]
mod deadline;
#[path = "cluster/rules/failback.rs"]
mod failback;
#[path = "cluster/rules/fencing.rs"]
mod fencing;
#[path = "cluster/rules/foresight.rs"]
mod foresight;
#[path = "cluster/rules/handover.rs"]
mod handover;
#[path = "cluster/rules/placement.rs"]
mod placement;
#[path = "cluster/play.rs"]
mod play;
#[path = "common/random.rs"]
mod random;
#[path = "cluster/rules/requests.rs"]
mod requests;
#[path = "cluster/rules/takeover.rs"]
mod takeover;
#[path = "cluster/rules/total.rs"]
mod total;
#[path = "cluster/rules/unknown.rs"]
mod unknown;
