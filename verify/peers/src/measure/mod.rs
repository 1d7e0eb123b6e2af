//! One file for each kind of measurement.

pub mod drive;
