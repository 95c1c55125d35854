//! This node's part in a cluster: carries out what [`woodward_engine::cluster`] decides, and tells it what came of it.

mod handle;
pub mod words;

pub use handle::Handle;
