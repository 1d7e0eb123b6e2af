//! The command line: every text is an option's value or an error, and never a panic.
#![no_main]
#![allow(dead_code, reason = "modules of the program, of which the target uses a part")]

#[path = "../../../chronicle-cli/src/args.rs"]
mod args;
#[path = "../../../chronicle-cli/src/parse.rs"]
mod parse;

mod demo {
    pub(crate) mod child {
        /// What a process of the demonstration does: not from users.
        #[derive(clap::Subcommand)]
        pub(crate) enum Role {
            /// Nothing.
            Nothing,
        }
    }
}

use clap::Parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = parse::type_id(text);
    let _ = parse::byte_count(text);
    if let Ok(size) = parse::segment_size(text) {
        assert!(size.is_multiple_of(4096), "{size}");
    }
    let _ = parse::duration(text);
    if let Ok(name) = parse::reader_name(text) {
        assert!(!name.contains(['/', '.', '\0']));
    }
    let _ = parse::start(text);
    let words = text.split(['\n', '\0']);
    let _ = args::Arguments::try_parse_from(std::iter::once("chron-cli").chain(words));
});
