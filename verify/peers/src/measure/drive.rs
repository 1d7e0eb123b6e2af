//! The loops that drive the two sides of a queue, generic over the queue.

use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use crate::clock::ticks;
use crate::control::Control;
use crate::job::{Drive, Job, Values};
use crate::message::{self, Checker};
use crate::process::pin;
use crate::system::{Receiver, Sender};

/// The sender looks at the clock once in so many messages.
const BETWEEN_LOOKS: u64 = 64;
/// At most so many messages are handed out by one poll.
const MOST: u64 = 64;
/// A reader that is to be behind is so by this many bytes of payload, where the system has room for it.
const LAG_BYTES: u64 = 1 << 20;

/// How far behind the reader stays, in messages; 0 for not at all.
pub fn lag(job: &Job, capacity: Option<u64>) -> u64 {
    if job.drive != Drive::Behind {
        return 0;
    }
    let wanted = (LAG_BYTES / job.size as u64).max(64);
    capacity.map_or(wanted, |capacity| wanted.min(capacity / 2))
}

/// How often the sender says how far it is: rarely enough to cost nothing, and often enough that the
/// reader never waits for a sender that waits for the reader.
fn interval(lag: u64) -> u64 {
    (lag / 4).clamp(1, 256)
}

/// Prepares the calling thread for its side.
fn begin(job: &Job, side: usize) -> Result<()> {
    pin(*job.cpus.get(side).context("a side")?)
}

/// The sending side: `there` leads to the receiver, `back` comes from it.
pub fn send<S: Sender, R: Receiver>(
    job: &Job,
    control: &Control,
    lag: u64,
    there: &mut S,
    back: Option<&mut R>,
) -> Result<Values> {
    begin(job, 0)?;
    control.meet()?;
    match (job.drive, back) {
        (Drive::Behind | Drive::CaughtUp, _) => stream(job, control, lag, there),
        (Drive::RoundTrip, Some(back)) => ping(job, control, there, back),
        (Drive::OneWay { rate } | Drive::Woken { rate }, _) => pace(job, control, there, rate),
        (Drive::RoundTrip, None) => bail!("a round trip has a way back"),
    }
}

/// The receiving side.
pub fn receive<S: Sender, R: Receiver>(
    job: &Job,
    control: &Control,
    lag: u64,
    there: &mut R,
    back: Option<&mut S>,
) -> Result<Values> {
    begin(job, 1)?;
    control.meet()?;
    match (job.drive, back) {
        (Drive::Behind | Drive::CaughtUp, _) => drain(job, control, lag, there),
        (Drive::RoundTrip, Some(back)) => echo(job, control, there, back),
        (Drive::OneWay { .. } | Drive::Woken { .. }, _) => observe(job, control, there),
        (Drive::RoundTrip, None) => bail!("a round trip has a way back"),
    }
}

fn stream<S: Sender>(job: &Job, control: &Control, lag: u64, sender: &mut S) -> Result<Values> {
    let mut writer = message::Writer::new(job.size)?;
    let interval = interval(lag);
    // ORDER: Release, with the Acquire loads in `drain`; messages are ordered by their queue.
    control.total().store(job.warm_up + job.messages, Ordering::Release);
    let say = |sent: u64| control.sent().store(sent, Ordering::Release);
    for seq in 0..job.warm_up {
        sender.send(writer.message(seq))?;
        if seq.is_multiple_of(interval) {
            say(seq + 1);
        }
    }
    // Said before the receiver keeps its distance, which it does from here on.
    say(job.warm_up);
    control.wait_for(control.received(), job.warm_up)?;
    let limit = job.ticks(Duration::from_millis(job.limit_ms).as_nanos() as f64);
    let mut seq = job.warm_up;
    let mut end = job.warm_up + job.messages;
    let begin = ticks();
    while seq < end {
        let pause = (seq + BETWEEN_LOOKS).min(end);
        while seq < pause {
            sender.send(writer.message(seq))?;
            seq += 1;
            if seq.is_multiple_of(interval) {
                say(seq);
            }
        }
        if seq < end && ticks() - begin > limit {
            // Said before the last messages are sent: a receiver that can only wait must not wait for more.
            end = end.min(seq + BETWEEN_LOOKS);
            control.total().store(end, Ordering::Release);
        }
    }
    let sent = ticks();
    say(u64::MAX);
    // The receiver may need this side's files until it has everything.
    control.wait_for(control.received(), end)?;
    Ok(values([
        ("begin", begin as f64),
        ("sent", sent as f64),
        ("messages", (end - job.warm_up) as f64),
    ]))
}

fn drain<R: Receiver>(job: &Job, control: &Control, lag: u64, receiver: &mut R) -> Result<Values> {
    let mut checker = Checker::new(job.size);
    warm_up(job, receiver, &mut checker)?;
    // The sender goes on when it sees this.
    control.received().store(job.warm_up, Ordering::Release);
    let mut allowed = if lag == 0 { u64::MAX } else { 0 };
    while checker.count() < control.total().load(Ordering::Acquire) {
        let mut most = MOST;
        if lag > 0 {
            if checker.count() >= allowed {
                let sent = control.sent().load(Ordering::Acquire);
                allowed = if sent == u64::MAX { sent } else { sent.saturating_sub(lag) };
                if checker.count() >= allowed {
                    spin_loop();
                    continue;
                }
            }
            most = most.min(allowed - checker.count());
        }
        if receiver.poll(most, |message| checker.check(message))? == 0 {
            spin_loop();
        }
    }
    let end = ticks();
    checker.finish()?;
    control.received().store(checker.count(), Ordering::Release);
    Ok(values([("end", end as f64)]))
}

/// Receives what is not counted.
fn warm_up<R: Receiver>(job: &Job, receiver: &mut R, checker: &mut Checker) -> Result<()> {
    while checker.count() < job.warm_up {
        let most = MOST.min(job.warm_up - checker.count());
        if receiver.poll(most, |message| checker.check(message))? == 0 {
            spin_loop();
        }
    }
    Ok(())
}

/// Waits for the next message.
fn next<R: Receiver>(receiver: &mut R, mut each: impl FnMut(&[u8])) -> Result<()> {
    while receiver.poll(1, &mut each)? == 0 {
        spin_loop();
    }
    Ok(())
}

fn ping<S: Sender, R: Receiver>(
    job: &Job,
    control: &Control,
    there: &mut S,
    back: &mut R,
) -> Result<Values> {
    let mut writer = message::Writer::new(job.size)?;
    let mut checker = Checker::new(job.size);
    let mut trips = Vec::with_capacity(job.messages as usize);
    let limit = job.ticks(Duration::from_millis(job.limit_ms).as_nanos() as f64);
    let mut begin = ticks();
    let mut seq = 0;
    while seq < job.warm_up + job.messages {
        let message = writer.message(seq);
        let sent = ticks();
        there.send(message)?;
        next(back, |message| checker.check(message))?;
        let received = ticks();
        seq += 1;
        if seq <= job.warm_up {
            begin = received;
        } else {
            trips.push(received - sent);
        }
        // At least a few round trips are counted, however slow they are.
        if received - begin > limit && trips.len() > 100 {
            break;
        }
    }
    control.total().store(seq, Ordering::Release);
    there.send(writer.message(seq))?;
    control.wait_for(control.received(), seq)?;
    checker.finish()?;
    let messages = trips.len();
    let mut values = half_trips(job, trips);
    values.insert("messages".to_owned(), messages as f64);
    Ok(values)
}

fn echo<S: Sender, R: Receiver>(
    job: &Job,
    control: &Control,
    there: &mut R,
    back: &mut S,
) -> Result<Values> {
    let mut checker = Checker::new(job.size);
    loop {
        let mut answered = Ok(());
        let mut last = false;
        next(there, |message| {
            checker.check(message);
            // The message behind the last one says that there are no more.
            last = checker.count() > control.total().load(Ordering::Acquire);
            if !last {
                answered = back.send(message);
            }
        })?;
        answered?;
        if last {
            checker.finish()?;
            control.received().store(checker.count(), Ordering::Release);
            return Ok(Values::new());
        }
    }
}

fn pace<S: Sender>(job: &Job, control: &Control, sender: &mut S, rate: u64) -> Result<Values> {
    let mut writer = message::Writer::new(job.size)?;
    for seq in 0..job.warm_up {
        sender.send(writer.timed(seq, 0))?;
    }
    control.wait_for(control.received(), job.warm_up)?;
    let gap = job.ticks_per_ns * 1e9 / rate as f64;
    let start = ticks() + job.ticks(1e6);
    let messages = job.warm_up + job.messages;
    let mut late = 0u64;
    for seq in job.warm_up..messages {
        let due = start + ((seq - job.warm_up) as f64 * gap) as u64;
        let mut now = ticks();
        if now > due + gap as u64 {
            late += 1;
        }
        while now < due {
            spin_loop();
            now = ticks();
        }
        sender.send(writer.timed(seq, due))?;
    }
    let took = job.nanoseconds(ticks() - start) / 1e9;
    control.wait_for(control.received(), messages)?;
    let sent = job.messages as f64;
    Ok(values([("sent_per_second", sent / took), ("late", late as f64 / sent)]))
}

fn observe<R: Receiver>(job: &Job, control: &Control, receiver: &mut R) -> Result<Values> {
    let mut checker = Checker::new(job.size);
    let mut histogram = Histogram::<u64>::new(3)?;
    let messages = job.warm_up + job.messages;
    warm_up(job, receiver, &mut checker)?;
    control.received().store(job.warm_up, Ordering::Release);
    let mut failed = Ok(());
    while checker.count() < messages {
        let received = receiver.poll(MOST, |message| {
            let age = ticks().saturating_sub(message::time_of(message));
            if let Err(error) = histogram.record(job.nanoseconds(age).round() as u64) {
                failed = Err(error);
            }
            checker.check(message);
        })?;
        if received == 0 {
            spin_loop();
        }
    }
    failed?;
    checker.finish()?;
    control.received().store(messages, Ordering::Release);
    let mut values = percentiles(&histogram);
    values.insert("messages".to_owned(), histogram.len() as f64);
    Ok(values)
}

const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// The percentiles that tables show, in the histogram's unit, which is nanoseconds.
pub fn percentiles(histogram: &Histogram<u64>) -> Values {
    let mut percentiles =
        values(PERCENTILES.map(|(name, part)| (name, histogram.value_at_quantile(part) as f64)));
    percentiles.insert("max".to_owned(), histogram.max() as f64);
    percentiles
}

/// The same of half of each round trip, which are given in ticks.
pub fn half_trips(job: &Job, mut trips: Vec<u64>) -> Values {
    trips.sort_unstable();
    let half = |ticks: f64| ticks / job.ticks_per_ns / 2.0;
    let mut percentiles =
        values(PERCENTILES.map(|(name, part)| (name, half(between(&trips, part)))));
    percentiles.insert("max".to_owned(), half(trips.last().map_or(0.0, |last| *last as f64)));
    percentiles
}

/// The value that this part of sorted values does not exceed. Some processors' counters go in steps, of 10 ns for
/// example, so that values are few: those that look alike are taken to lie evenly over the step around what they look
/// like, as is done with all data in classes.
fn between(sorted: &[u64], part: f64) -> f64 {
    let rank = part * sorted.len() as f64;
    let Some(&value) = sorted.get((rank as usize).min(sorted.len().saturating_sub(1))) else {
        return 0.0;
    };
    let class = Class::around(sorted, value);
    let step = class.step(sorted);
    let inside = (rank - class.begin as f64) / class.count() as f64;
    class.mean(sorted) + step * (inside - 0.5)
}

/// Values that look alike: steps that are no whole number of ticks are rounded.
#[derive(Clone, Copy)]
struct Class {
    begin: usize,
    end: usize,
}

impl Class {
    /// Within so many ticks of each other.
    const WIDTH: u64 = 2;
    /// A class with so much smaller a part of the values is none, but a reading that was disturbed.
    const STRAY: usize = 50;

    fn around(sorted: &[u64], value: u64) -> Self {
        let begin = sorted.partition_point(|other| *other < value.saturating_sub(Self::WIDTH));
        let end = sorted.partition_point(|other| *other <= value + Self::WIDTH);
        Self { begin, end }
    }

    fn count(self) -> usize {
        self.end - self.begin
    }

    fn mean(self, sorted: &[u64]) -> f64 {
        let values = sorted.get(self.begin..self.end).unwrap_or_default();
        values.iter().sum::<u64>() as f64 / values.len() as f64
    }

    /// How far it is to the nearest other class; 0 if there is none.
    fn step(self, sorted: &[u64]) -> f64 {
        let counts = |other: &Self| other.count() * Self::STRAY >= self.count();
        let mean = self.mean(sorted);
        let (mut above, mut below) = (Some(self), Some(self));
        loop {
            above = above
                .and_then(|class| sorted.get(class.end))
                .map(|value| Self::around(sorted, value + Self::WIDTH));
            below = below
                .and_then(|class| sorted.get(class.begin.checked_sub(1)?))
                .map(|value| Self::around(sorted, value.saturating_sub(Self::WIDTH)));
            let found = [above, below].into_iter().flatten().filter(counts);
            let nearest = found.map(|class| (class.mean(sorted) - mean).abs()).reduce(f64::min);
            if nearest.is_some() || (above.is_none() && below.is_none()) {
                return nearest.unwrap_or(0.0);
            }
        }
    }
}

/// Values with names.
pub fn values<const N: usize>(named: [(&str, f64); N]) -> Values {
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a stream's two sides found out, as messages a second.
pub fn finished(job: &Job, mut found: Values) -> Values {
    let get = |name: &str| found.get(name).copied();
    if let (Some(begin), Some(end), Some(messages)) = (get("begin"), get("end"), get("messages")) {
        let seconds = (end - begin) / job.ticks_per_ns / 1e9;
        return values([
            ("per_second", messages / seconds),
            ("bytes_per_second", messages * job.size as f64 / seconds),
            ("messages", messages),
        ]);
    }
    found.retain(|_, value| value.is_finite());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_coarse_counter_shows_is_spread_over_its_steps() {
        // True values from 100 to 199, seen in steps of 25.96, and a few that are not.
        let exact: Vec<u64> = (0..100_000).map(|i| 100 + i / 1000).collect();
        let seen = |value: u64| ((value as f64 / 25.96).round() * 25.96) as u64;
        let mut coarse: Vec<u64> = exact.iter().map(|value| seen(*value)).collect();
        coarse.iter_mut().step_by(997).for_each(|value| *value += 7);
        coarse.sort_unstable();
        for part in [0.3, 0.5, 0.7, 0.9] {
            let [exact, coarse] = [&exact, &coarse].map(|values| between(values, part));
            assert!((exact - (100.0 + 100.0 * part)).abs() < 1.5, "{exact}");
            assert!((coarse - exact).abs() < 4.0, "{part}: {coarse} for {exact}");
        }
    }

    #[test]
    fn few_values_have_percentiles_too() {
        assert_eq!(between(&[], 0.5), 0.0);
        assert_eq!(between(&[7], 0.99), 7.0);
        assert_eq!(between(&[7; 10], 0.5), 7.0);
    }
}
