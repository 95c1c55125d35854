//! Socket units for `listen`.
