//! A cluster of three hosts with real etcd and real daemons, in the bed of `tests/cluster-bed`: everything that may happen to
//! a host happens, and a witness with the one true clock says whether two of them ever worked at once.

mod bed;
mod fault;
mod proof;
mod site;
