//! Benches of `chronicle-std` and `chronicle-bus`. Tests of these two are also checked for macOS, without a C compiler
//! for it, which Criterion needs; so they do without Criterion.
