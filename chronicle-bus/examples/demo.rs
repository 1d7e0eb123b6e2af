//! All of it with one command: a feed, three strategies, a router and an observer, each a process. One
//! of each kind is killed on the way and started again. At the end it counts what became of every order.
//!
//!     cargo run -p chronicle-bus --example demo
//!
//! Ends with 0 if no order was lost and none was sent or filled twice, else with 1.

mod shared;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chronicle_bus::{BusLayout, Message, QueueEndpoint, StrategyId};
use chronicle_std::ReaderConfig;
use clap::Parser;
use shared::{Fill, Order};

#[derive(Parser)]
struct Arguments {
    /// How long the feed publishes
    #[arg(long, default_value_t = 12)]
    seconds: u32,
    /// The directory of the bus, which is kept [default: a temporary one]
    #[arg(long)]
    bus_root: Option<PathBuf>,
    /// A capture of Binance's streams for the feed; without one it makes events
    #[arg(long)]
    capture: Option<PathBuf>,
}

/// The strategies, and every how many events they send an order.
const STRATEGIES: [(&str, &str); 3] = [("alpha", "10"), ("beta", "25"), ("gamma", "100")];

/// How long all that was sent may take to be filled when the feed has ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of the bus, which does not outlive this one.
struct Running {
    child: Child,
    name: String,
}

impl Running {
    fn start(example: &str, bus: &Path, arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?.with_file_name(example);
        let mut command = Command::new(&program);
        command.arg("--bus-root").arg(bus).args(arguments).stdin(Stdio::null());
        let started = command.spawn();
        let child = started.map_err(|error| format!("{}: {error}", program.display()))?;
        let name = [&[example], arguments].concat().join(" ");
        println!("demo: process {}: {name}", child.id());
        Ok(Self { child, name })
    }

    fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        println!("demo: kill -9 {}: {}", self.child.id(), self.name);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// An error if it has ended by itself.
    fn still_runs(&mut self) -> Result<(), Box<dyn Error>> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} has ended with {status}", self.name).into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the other examples as this one was built.
fn build() -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "-p", "chronicle-bus", "--examples"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if cargo.status()?.success() { Ok(()) } else { Err("the examples cannot be built".into()) }
}

/// All messages of a queue; none if it is not there.
fn messages<M: Message>(queue: &QueueEndpoint) -> Result<Vec<M>, Box<dyn Error>> {
    let mut reader = match queue.open_reader(ReaderConfig::default()) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        reader => reader?,
    };
    let mut messages = Vec::new();
    while let Some(message) = reader.next()? {
        messages.push(M::read_from_bytes(message.payload).map_err(|_| "not of this type")?);
    }
    Ok(messages)
}

/// What became of a strategy's orders.
struct Account {
    /// What the feed's events ask for.
    wanted: Vec<Order>,
    orders: Vec<Order>,
    fills: Vec<Fill>,
}

impl Account {
    fn of(bus: &BusLayout, name: &str, every: &str) -> Result<Self, Box<dyn Error>> {
        let strategy = bus.strategy(StrategyId::new(name)?);
        let mut feed = bus.live("market_data", "demo_feed")?.open_reader(ReaderConfig::default())?;
        let (mut wanted, every) = (Vec::new(), every.parse()?);
        while let Some(event) = feed.next()? {
            wanted.extend(shared::order(&event, 1, every)?);
        }
        let (orders, fills) = (strategy.orders_out(), strategy.orders_in());
        Ok(Self { wanted, orders: messages(&orders)?, fills: messages(&fills)? })
    }

    /// Whether each order that was to be sent was sent once, and filled once, in this order.
    fn is_right(&self) -> bool {
        let answers = |(seq, (fill, order)): (u64, (&Fill, &Order))| {
            fill.order_seq == seq && (fill.price, fill.lots) == (order.price, order.lots)
        };
        self.orders == self.wanted
            && self.fills.len() == self.orders.len()
            && (0..).zip(self.fills.iter().zip(&self.orders)).all(answers)
    }
}

fn accounts(bus: &BusLayout) -> Result<Vec<Account>, Box<dyn Error>> {
    STRATEGIES.iter().map(|(name, every)| Account::of(bus, name, every)).collect()
}

fn run(arguments: &Arguments, root: &Path) -> Result<bool, Box<dyn Error>> {
    println!("demo: the bus is in {}", root.display());
    let start = |example: &str, arguments: &[&str]| Running::start(example, root, arguments);
    let capture = arguments.capture.as_ref().map(|path| path.display().to_string());
    let of_feed = match &capture {
        Some(path) => vec!["--capture", path],
        None => vec!["--events", "0"],
    };
    let (mut observer, mut router) =
        (start("passive", &["--seconds", "0"])?, start("router", &[])?);
    let strategy = |(id, every): (&str, &str)| start("strategy", &["--id", id, "--every", every]);
    let mut strategies =
        STRATEGIES.into_iter().map(strategy).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let mut feed = start("feed", &of_feed)?;

    let quarter = Duration::from_secs(arguments.seconds.into()) / 4;
    // Long enough for the others to notice.
    let absence = quarter.min(Duration::from_millis(1500));
    for victim in ["strategy", "router", "feed"] {
        thread::sleep(quarter - absence);
        match (victim, strategies.first_mut()) {
            ("strategy", Some(first)) => {
                first.kill()?;
                thread::sleep(absence);
                *first = strategy(STRATEGIES[0])?;
            }
            ("router", _) => {
                router.kill()?;
                thread::sleep(absence);
                router = start("router", &[])?;
            }
            _ => {
                feed.kill()?;
                thread::sleep(absence);
                feed = start("feed", &of_feed)?;
            }
        }
    }
    thread::sleep(quarter);
    feed.kill()?;

    let until = Instant::now() + PATIENCE;
    let bus = BusLayout::new(root)?;
    while !accounts(&bus)?.iter().all(Account::is_right) && Instant::now() < until {
        for process in strategies.iter_mut().chain([&mut router, &mut observer]) {
            process.still_runs()?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    // The router first: nobody is left to be told that the strategies are gone.
    drop((observer, router, strategies));
    Ok(report(&accounts(&bus)?))
}

fn report(accounts: &[Account]) -> bool {
    println!("{:<10} {:>14} {:>8} {:>8}", "strategy", "orders wanted", "sent", "filled");
    for ((name, _), account) in STRATEGIES.iter().zip(accounts) {
        let Account { wanted, orders, fills } = account;
        println!("{name:<10} {:>14} {:>8} {:>8}", wanted.len(), orders.len(), fills.len());
    }
    let all_right = accounts.iter().all(Account::is_right);
    println!(
        "{}",
        match all_right {
            true => "no order was lost, and none was sent or filled twice",
            false => "WRONG: orders were lost, or sent or filled twice",
        }
    );
    all_right
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    build()?;
    let temporary = tempfile::tempdir()?;
    let root = arguments.bus_root.clone().unwrap_or_else(|| temporary.path().join("bus"));
    Ok(if run(&arguments, &root)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
