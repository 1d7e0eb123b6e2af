//! Runs of the writer in each mode, many cuts of its power.

use std::path::Path;
use std::time::{Instant, SystemTime};

use chronicle_account::Account;
use clap::ValueEnum;

use crate::check::{check, rot};
use crate::mode::Mode;
use crate::record::{BATCHES, DISK, record};
use crate::replay::Choices;
use crate::rig::{Problem, Rig};

pub(crate) fn run(
    images: u32,
    seed: Option<u64>,
    mode: Option<Mode>,
    json: Option<&Path>,
) -> Result<(), Problem> {
    let seed = seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    let mut account = Account::begin("powerloss", Some(seed));
    let outcome = match Rig::new(DISK, BLOCKS[0]).map(Rig::finish) {
        Ok(_) => every_mode(images, seed, mode, &mut account),
        Err(reason) => {
            println!("skipped: power loss under a real kernel: {reason}");
            account.skip(&reason);
            Ok(())
        }
    };
    let Some(path) = json else { return outcome };
    let written = account.write(path, u64::from(outcome.is_err()));
    outcome.and(written)
}

/// Of so many images of segments that were full of zeros, one in five of which has a torn record, one has
/// one.
const ENOUGH: u32 = 40;

/// Sizes of the file system's blocks: its own choice for a small disk, and a page.
const BLOCKS: [u32; 2] = [1024, 4096];

/// Cuts the power in each mode; stops at the first failure.
fn every_mode(
    images: u32,
    seed: u64,
    mode: Option<Mode>,
    account: &mut Account,
) -> Result<(), Problem> {
    println!("seed {seed}");
    println!(
        "{:<22} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8} {:>6} {:>7} {:>5} {:>7}",
        "mode",
        "images",
        "promises",
        "appended",
        "on disk",
        "flushes",
        "troubles",
        "torn",
        "refused",
        "lost",
        "time"
    );
    let modes = Mode::value_variants().iter().copied();
    let modes = modes.filter(|each| mode.is_none_or(|only| only == *each));
    // Each with a queue that keeps everything, and with one that keeps some segments.
    let runs = modes.flat_map(|mode| [(mode, false), (mode, true)]);
    for (mode, limited) in runs.filter(|(mode, limited)| *mode != Mode::Rotting || !limited) {
        let began = Instant::now();
        let mut choices = Choices::new(seed);
        let name = mode.to_possible_value().map_or(String::new(), |it| it.get_name().to_owned());
        let name = if limited { format!("{name}, limited") } else { name };
        let plan = mode.plan(BATCHES, &mut choices);
        let block = BLOCKS.get(choices.below(BLOCKS.len())).copied().unwrap_or(1024);
        let recorded = record(mode, limited, block, &plan)
            .map_err(|problem| format!("seed {seed}, {name}, while it runs: {problem}"))?;
        let (mut lost, mut torn, mut refused) = (0_u64, 0_u64, 0_u64);
        for image in 0..images {
            // What a control loses is no failure, and what it keeps shows nothing.
            account.add(if mode.is_control() { "control_images" } else { "images" }, 1);
            let seen = match mode {
                Mode::Rotting => rot(&recorded, image % 2 == 0, &mut choices),
                _ => check(mode, &recorded, image == 0, &mut choices),
            };
            match seen {
                Ok(seen) => {
                    torn += u64::from(seen.torn);
                    refused += u64::from(seen.refused);
                    lost += u64::from(seen.lost);
                }
                Err(fault) => return Err(format!("seed {seed}, {name}, image {image}: {fault}")),
            }
        }
        account.add(if mode.is_control() { "control_lost" } else { "lost" }, lost);
        account.add("torn", torn);
        account.add("refused", refused);
        account.add("troubles", recorded.troubles.into());
        account.add("promises", recorded.promises.len() as u64);
        account.add("flushes", recorded.flushes as u64);
        println!(
            "{name:<22} {images:>6} {:>8} {:>9} {:>9} {:>8} {:>8} {torn:>6} {refused:>7} {lost:>5} {:>6.1}s",
            recorded.promises.len(),
            recorded.appended,
            recorded.bytes,
            recorded.flushes,
            recorded.troubles,
            began.elapsed().as_secs_f64()
        );
        if mode.is_control() && lost == 0 {
            return Err(format!("seed {seed}: {name} lost nothing, so this shows nothing"));
        }
        if mode == Mode::ZeroedNever && torn == 0 && images >= ENOUGH {
            return Err(format!("seed {seed}: {name} tore no record, so this shows nothing"));
        }
    }
    Ok(())
}
