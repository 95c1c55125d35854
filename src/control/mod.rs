//! The control room: HTTP and JSON over a unix socket.
//!
//! A daemon listens on one socket ([`bind`], [`serve`]); a client finds the sockets of all daemons it may talk to
//! ([`client`]) and asks them. Both sides agree in [`places`] on where things are, in [`resolve`] on what a PATH
//! means, and in [`message`] on what is said. Only the same user and root are let in, and the group of the settings. Answers come from the
//! published view: nothing here waits for the kernel but the verbs that change something, and nothing here decides.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1` | the daemon: version, pid, host, trees |
//! | `GET /v1/status`, `/v1/status/PATH` | array of rows |
//! | `GET /v1/show/PATH` | one child with command, limits, last runs, last lines |
//! | `GET /v1/find?path=` | full paths a PATH may mean |
//! | `GET /v1/why?path=` | text |
//! | `GET /v1/events?path=&since=&n=&follow=` | array of facts; JSON lines when followed |
//! | `GET /v1/logs?path=A,B&n=&follow=` | array of lines; JSON lines when followed |
//! | `GET /v1/up?path=` | whether all is up, and who is not |
//! | `GET /v1/settings` | array of settings with their origins, as this daemon uses them |
//! | `GET /v1/availability?path=&since=` | figures of each path |
//! | `GET /v1/chaos` | the processes of every generation (setting `chaos`) |
//! | `POST /v1/chaos?path=&fault=&time=&pick=` | one fault, done (setting `chaos`) |
//! | `GET /v1/cluster` | what this node knows of its cluster |
//! | `GET /v1/cluster/record` | array of facts about it, all there are |
//! | `GET /v1/cluster/foresee?dead=A,B` | what would become of the groups of these nodes |
//! | `POST /v1/cluster/move`, `drain`, `undrain`, `maintenance`, `forgive`, `start`, `confirm` `?group=&node=…` | a word for the register, answered when it stands there |
//! | `POST /v1/start`, `stop`, `restart`, `hold`, `release` `?path=…` | JSON lines as it happens, the outcome last |

#[cfg(feature = "full")]
mod apply;
#[cfg(feature = "full")]
mod ask;
pub mod bind;
#[cfg(feature = "full")]
pub mod client;
#[cfg(feature = "full")]
pub mod cluster;
#[cfg(feature = "full")]
mod company;
#[cfg(feature = "full")]
mod follow;
#[cfg(feature = "full")]
mod harm;
#[cfg(feature = "full")]
mod house;
pub mod message;
#[cfg(feature = "full")]
mod params;
pub mod places;
pub mod resolve;
#[cfg(feature = "full")]
mod server;
#[cfg(feature = "full")]
mod show;
#[cfg(not(feature = "full"))]
pub mod small;
mod upgrade;
#[cfg(feature = "full")]
mod uptime;

pub use bind::{BindError, bind};
#[cfg(feature = "full")]
pub use house::House;
#[cfg(feature = "full")]
pub use server::{Door, serve};
#[cfg(not(feature = "full"))]
pub use small::{Door, serve};
pub use upgrade::Upgrade;
