//! The pages of `docs/` whose code is compiled and run as tests of this crate.

#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
pub struct Embedding;
