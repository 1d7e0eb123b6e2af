//! A capture of Binance's streams as book events: lines of a time of receipt, in nanoseconds since 1970,
//! and what was received, as JSON. Such captures are in the examples of `hftbacktest`.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Read};
use std::iter::Peekable;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chronicle_protocol::{
    BookEvent, BookEventHeader, BookFlags, Kind, Level, SeqRule, Side, Trade,
};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Binance gives at most eight decimal places.
const EXPONENT: i8 = -8;

/// An event and when it was received.
pub struct Captured {
    pub recv_ts_ns: u64,
    pub payload: Vec<u8>,
}

/// The events of several captures, one for each market, in the order of receipt.
pub struct Captures {
    files: Vec<Peekable<Capture>>,
}

impl Captures {
    /// Opens captures, of which the first is of market `market`, the second of the next one, and so on.
    pub fn open(files: &[impl AsRef<Path>], venue: u16, market: u32) -> Result<Self> {
        let open = |(file, market)| Capture::open(file, venue, market).map(Iterator::peekable);
        let files = files.iter().map(AsRef::as_ref).zip(market..).map(open);
        Ok(Self { files: files.collect::<Result<_>>()? })
    }
}

impl Iterator for Captures {
    type Item = Result<Captured>;

    fn next(&mut self) -> Option<Self::Item> {
        let received = self.files.iter_mut().map(|file| match file.peek() {
            Some(Ok(captured)) => captured.recv_ts_ns,
            Some(Err(_)) => 0,
            None => u64::MAX,
        });
        // Of captures with the same time the first.
        let (first, _) = received.enumerate().min_by_key(|(_, recv_ts_ns)| *recv_ts_ns)?;
        self.files.get_mut(first)?.next()
    }
}

struct Capture {
    lines: Lines<BufReader<Box<dyn Read>>>,
    gzip: Option<Child>,
    venue_id: u16,
    market_id: u32,
}

impl Capture {
    fn open(file: &Path, venue_id: u16, market_id: u32) -> Result<Self> {
        let failed = |error| format!("{}: {error}", file.display());
        let opened = File::open(file).map_err(failed)?;
        let (mut gzip, mut bytes): (_, Box<dyn Read>) = (None, Box::new(opened));
        if file.extension().is_some_and(|extension| extension == "gz") {
            let mut command = Command::new("gzip");
            let command = command.arg("-dc").arg(file).stdout(Stdio::piped());
            let mut child = command.spawn().map_err(failed)?;
            bytes = Box::new(child.stdout.take().ok_or("gzip has no output")?);
            gzip = Some(child);
        }
        Ok(Self { lines: BufReader::new(bytes).lines(), gzip, venue_id, market_id })
    }

    fn event(&self, line: &str) -> Result<Option<Captured>> {
        let (time, json) = line.split_once(' ').ok_or("no time of receipt")?;
        let recv_ts_ns = time.parse()?;
        let line: Value = serde_json::from_str(json)?;
        let payload = self.payload(recv_ts_ns, line.get("data").unwrap_or(&line))?;
        Ok(payload.map(|payload| Captured { recv_ts_ns, payload }))
    }

    /// The event's bytes; `None` for what is no market data.
    fn payload(&self, recv_ts_ns: u64, data: &Value) -> Result<Option<Vec<u8>>> {
        let number = |name: &str| data.get(name).and_then(Value::as_u64);
        let exchange_ts_ns = number("T").or(number("E")).map(|ms| ms * 1_000_000);
        let header = |kind, rule, native_seq, native_prev| BookEventHeader {
            flags: exchange_ts_ns.map_or(BookFlags::EXCH_TS_MISSING, |_| BookFlags::empty()).bits(),
            venue_id: self.venue_id,
            market_id: self.market_id,
            exchange_ts_ns: exchange_ts_ns.unwrap_or(0),
            recv_ts_ns,
            native_seq,
            native_prev,
            price_exp: EXPONENT,
            size_exp: EXPONENT,
            ..BookEventHeader::new(kind, rule)
        };
        if let Some(last) = number("lastUpdateId") {
            // Its depth is up to whoever asked for it.
            let rule = if exchange_ts_ns.is_some() { SeqRule::Chain } else { SeqRule::Range };
            let header = header(Kind::L2_SNAPSHOT, rule, last, 0);
            return book(&header, &levels(data, "bids")?, &levels(data, "asks")?);
        }
        let kind = data.get("e").and_then(Value::as_str);
        match (kind, number("U"), number("u"), number("t")) {
            (Some("depthUpdate"), Some(first), Some(last), _) => {
                // Futures name the event before, spot counts through.
                let header = match number("pu") {
                    Some(before) => header(Kind::L2_DIFF, SeqRule::Chain, last, before),
                    None => header(Kind::L2_DIFF, SeqRule::Range, last, first.saturating_sub(1)),
                };
                book(&header, &levels(data, "b")?, &levels(data, "a")?)
            }
            // On the spot market these do not say what they are.
            (Some("bookTicker") | None, _, Some(last), _) => {
                let bid = level(data.get("b"), data.get("B"))?;
                let ask = level(data.get("a"), data.get("A"))?;
                book(&header(Kind::BBO, SeqRule::Monotonic, last, 0), &[bid], &[ask])
            }
            (Some("trade"), _, _, Some(trade_id)) => {
                // `m`: the buyer's order was there before.
                let buyer_waited = data.get("m").and_then(Value::as_bool).unwrap_or(false);
                let trade = Trade {
                    price: decimal(data.get("p"))?,
                    qty: decimal(data.get("q"))?.unsigned_abs(),
                    trade_id,
                    aggressor: if buyer_waited { Side::Ask } else { Side::Bid } as u8,
                    ..Trade::default()
                };
                let mut payload = vec![0; BookEvent::trades_size(1)];
                let header = header(Kind::TRADE, SeqRule::Monotonic, trade_id, 0);
                BookEvent::encode_trades(&header, &[trade], &mut payload)?;
                Ok(Some(payload))
            }
            _ => Ok(None),
        }
    }
}

impl Iterator for Capture {
    type Item = Result<Captured>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let event = self.lines.next()?.map_err(Into::into).and_then(|line| self.event(&line));
            if let Some(event) = event.transpose() {
                return Some(event);
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(gzip) = &mut self.gzip {
            let _ = gzip.kill();
            let _ = gzip.wait();
        }
    }
}

fn book(header: &BookEventHeader, bids: &[Level], asks: &[Level]) -> Result<Option<Vec<u8>>> {
    let mut payload = vec![0; BookEvent::levels_size(bids.len(), asks.len())];
    BookEvent::encode_levels(header, bids, asks, &mut payload)?;
    Ok(Some(payload))
}

fn levels(data: &Value, side: &str) -> Result<Vec<Level>> {
    let levels = data.get(side).and_then(Value::as_array).ok_or("no levels")?;
    levels.iter().map(|pair| level(pair.get(0), pair.get(1))).collect()
}

fn level(price: Option<&Value>, size: Option<&Value>) -> Result<Level> {
    Ok(Level { price: decimal(price)?, size: decimal(size)?.unsigned_abs() })
}

/// The mantissa of a decimal number that is written as text.
fn decimal(value: Option<&Value>) -> Result<i64> {
    let text = value.and_then(Value::as_str).ok_or("no number")?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let places = usize::from(EXPONENT.unsigned_abs());
    if fraction.len() > places {
        return Err(format!("{text} has more than {places} decimal places").into());
    }
    Ok(format!("{whole}{fraction:0<places$}").parse()?)
}
