//! The keeper: parent of every service, decides nothing.
