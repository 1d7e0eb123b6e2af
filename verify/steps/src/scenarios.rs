//! Scripts: one for each operation, random ones, and those that are wrong.

use crate::canary::Wrong;
use crate::script::Operation::{
    Abort, Append, AppendAll, Claim, Close, Commit, Create, DieInClaim, Flush, Mark, Open, Prepare,
    Read, Reboot, Register, Retain, Tear,
};
use crate::script::{Operation, Step, single, swift};

/// Processes that work on one queue, one after the other.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) processes: Vec<Vec<Step>>,
}

/// The smallest segments that there are.
const SMALL: u64 = 4096;

const fn create() -> Operation {
    Create { segment_size: SMALL, checksums: true, keep_few: false }
}

fn scenario(name: &str, processes: impl IntoIterator<Item = Vec<Step>>) -> Scenario {
    Scenario { name: name.to_owned(), processes: processes.into_iter().collect() }
}

/// One for each thing that a writer or a reader does.
pub(crate) fn all() -> Vec<Scenario> {
    // Fills most of a small segment.
    let fill = AppendAll(5, 680);
    let lengths = [0, 1, 8, 31, 32, 33, 100, 257, 900];
    let mut append = vec![swift(create())];
    append.extend(lengths.map(|length| single(Append(length))));
    vec![
        scenario("create", [vec![single(create()), single(Append(20))]]),
        scenario("append", [append]),
        scenario(
            "claim",
            [vec![
                swift(create()),
                single(Claim(100)),
                single(Abort(300)),
                single(Append(10)),
                single(Claim(0)),
                single(Append(200)),
            ]],
        ),
        scenario(
            "batch",
            [vec![
                swift(create()),
                single(AppendAll(5, 50)),
                single(Abort(400)),
                single(AppendAll(3, 10)),
                single(AppendAll(12, 500)),
            ]],
        ),
        scenario(
            "roll",
            [vec![
                swift(create()),
                swift(fill),
                single(Append(900)),
                swift(AppendAll(4, 680)),
                single(Prepare),
                single(Append(900)),
                single(Append(100)),
            ]],
        ),
        scenario(
            "flush",
            [vec![
                swift(create()),
                swift(Append(100)),
                single(Flush),
                single(Append(100)),
                single(Flush),
                swift(fill),
                single(Append(900)),
                single(Flush),
                single(Flush),
                single(Close),
            ]],
        ),
        scenario(
            "flush without room for a word in the log",
            [
                // Leaves room for no more than an empty record.
                vec![swift(create()), swift(fill), swift(Flush), swift(Append(192)), single(Flush)],
                vec![swift(Open), swift(Append(10)), single(Flush)],
            ],
        ),
        scenario(
            "reader",
            [
                vec![
                    swift(create()),
                    swift(AppendAll(12, 500)),
                    single(Register),
                    single(Read(3)),
                    single(Commit),
                    swift(Read(7)),
                    single(Commit),
                    swift(Read(9)),
                    single(Commit),
                ],
                vec![single(Register), single(Commit), swift(Open), single(Append(10))],
            ],
        ),
        scenario(
            "retention",
            [vec![
                swift(Create { segment_size: SMALL, checksums: true, keep_few: true }),
                swift(AppendAll(30, 600)),
                swift(Register),
                swift(Read(17)),
                swift(Commit),
                single(Retain),
                single(Append(600)),
            ]],
        ),
        scenario(
            "takeover",
            [
                vec![swift(create()), swift(AppendAll(6, 300)), swift(DieInClaim(900))],
                vec![single(Open), single(Append(50)), single(Close)],
                vec![single(Open), swift(DieInClaim(1))],
                vec![single(Open), single(Append(50))],
            ],
        ),
        scenario(
            "takeover at the end of a segment",
            [
                vec![swift(create()), swift(AppendAll(5, 730)), swift(Prepare)],
                vec![single(Open), single(Append(50))],
            ],
        ),
        scenario(
            "takeover with a cut",
            [torn(false), vec![single(Open), single(Append(50)), single(Append(300))]],
        ),
        scenario(
            "takeover after a reboot",
            [torn(true), vec![single(Open), single(Append(50)), single(Append(300))]],
        ),
        scenario(
            "seek index",
            [vec![
                swift(Create { segment_size: 128 << 10, checksums: true, keep_few: false }),
                // An entry is due behind 64 KiB.
                swift(AppendAll(500, 68)),
                single(Append(900)),
                single(Append(900)),
                single(Append(900)),
            ]],
        ),
        scenario(
            "without checksums",
            [vec![
                swift(Create { segment_size: SMALL, checksums: false, keep_few: false }),
                single(Append(100)),
                single(Claim(30)),
                swift(AppendAll(4, 680)),
                single(Append(900)),
                single(Append(900)),
            ]],
        ),
    ]
}

/// A queue that ends in a damaged record, with more behind it; after a reboot in more segments too.
fn torn(reboot: bool) -> Vec<Step> {
    let mut steps = vec![
        swift(create()),
        swift(AppendAll(3, 200)),
        swift(Flush),
        swift(AppendAll(2, 100)),
        swift(Mark(100)),
        swift(AppendAll(2, 100)),
    ];
    if reboot {
        steps.extend([swift(AppendAll(10, 600)), swift(Reboot), swift(Tear)]);
    } else {
        steps.push(swift(Tear));
    }
    steps
}

/// Something wrong, to be found out.
pub(crate) fn canary(wrong: Wrong) -> Scenario {
    let checksums = wrong != Wrong::CommitBeforePayload;
    let steps = [
        Create { segment_size: SMALL, checksums, keep_few: false },
        AppendAll(16, 500),
        Register,
        Read(2),
        Commit,
        Read(2),
        Operation::Wrong(wrong),
    ];
    let steps =
        steps.map(|operation| Step { operation, single: matches!(operation, Operation::Wrong(_)) });
    scenario(&format!("{wrong:?}"), [steps.to_vec()])
}

/// A random script.
pub(crate) fn random(seed: u64) -> Scenario {
    let mut choices = Choices(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let checksums = choices.below(8) != 0;
    let keep_few = choices.below(3) == 0;
    let mut processes = Vec::new();
    for process in 0..3 {
        let mut steps = vec![match process {
            0 => Create { segment_size: SMALL, checksums, keep_few },
            _ => Open,
        }];
        steps.push(Register);
        steps.extend((0..14).map(|_| choices.operation()));
        // Checksums are what a tear is found by.
        if process == 1 && checksums && choices.below(2) == 0 {
            let (count, length) = (1 + choices.below(3), 1 + choices.below(600));
            steps.extend([Mark(length), AppendAll(count, length), Append(9), Reboot, Tear]);
        } else {
            match choices.below(3) {
                0 => steps.push(Close),
                1 => steps.push(DieInClaim(choices.below(900))),
                _ => {}
            }
        }
        let steps = steps.into_iter().map(|operation| {
            let made = matches!(operation, Mark(_) | Tear | Reboot | DieInClaim(_) | Read(_));
            Step { operation, single: !made && choices.below(2) == 0 }
        });
        processes.push(steps.collect());
    }
    Scenario { name: format!("seed {seed}"), processes }
}

struct Choices(u64);

impl Choices {
    /// From 0 on; xorshift64*.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    fn operation(&mut self) -> Operation {
        match self.below(20) {
            0..=4 => Append(self.below(900)),
            5..=6 => Claim(self.below(900)),
            7 => Abort(self.below(900)),
            8..=9 => AppendAll(self.below(9), self.below(700)),
            10..=11 => Flush,
            12 => Prepare,
            13 => Retain,
            14..=16 => Read(self.below(9) as u64),
            _ => Commit,
        }
    }
}
