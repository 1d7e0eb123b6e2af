//! Plots of the results, as SVG.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::series::LineSeries;

use crate::job::Drive;
use crate::results::Results;
use crate::tables::streams::case;

/// The systems that are shown, each in its colour and by its name: what is most alike is left out. Of
/// several the best at each point.
const SHOWN: [(&[&str], &str, RGBColor); 10] = [
    (&["memcpy"], "memcpy (limit)", RGBColor(120, 120, 120)),
    (&["cache line"], "cache line (limit)", RGBColor(120, 120, 120)),
    (&["ideal full"], "ideal queue, same features", RGBColor(0, 0, 0)),
    (&["chronicle"], "Chronicle", RGBColor(214, 39, 40)),
    (&["chronicle crc"], "Chronicle, CRC-32C", RGBColor(255, 152, 150)),
    (&["aeron offer", "aeron claim"], "Aeron IPC", RGBColor(31, 119, 180)),
    (&["iceoryx2 copy"], "iceoryx2", RGBColor(44, 160, 44)),
    (&["rtrb"], "rtrb (threads)", RGBColor(148, 103, 189)),
    (&["crossbeam channel"], "crossbeam-channel (threads)", RGBColor(140, 86, 75)),
    (&["pipe"], "pipe", RGBColor(227, 119, 194)),
];
const SIZE: (u32, u32) = (900, 540);
/// Percentiles as they are called in the results, and where they are on their axis: one decade apart, but
/// for the first.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 1.0), ("p90", 10.0), ("p99", 100.0), ("p99.9", 1e3), ("p99.99", 1e4)];

/// A line of a plot.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// What is along an axis.
struct Axis {
    name: &'static str,
    range: (f64, f64),
    /// Lines and labels are at powers of this.
    base: f64,
    label: fn(f64) -> String,
}

/// Draws what was measured into a directory.
pub fn draw(results: &Results, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    throughput(results, directory)?;
    percentiles(
        results,
        ("round-trip", Drive::RoundTrip),
        "Half a round trip, 64 B, two processes that spin",
        &directory.join("round-trip.svg"),
    )?;
    percentiles(
        results,
        ("one-way", Drive::OneWay { rate: 100_000 }),
        "One way at 100,000 messages/s, 64 B, from when each was due",
        &directory.join("one-way.svg"),
    )?;
    Ok(())
}

fn throughput(results: &Results, directory: &Path) -> Result<()> {
    const SIZES: [usize; 4] = [64, 256, 1024, 16384];
    let lines = lines(|systems| {
        let point = |size: &usize| {
            let case = case(Drive::Behind, *size);
            let bytes = |system| results.median("throughput", &case, system, "bytes_per_second");
            let most = systems.iter().copied().filter_map(bytes).reduce(f64::max)?;
            Some((*size as f64, most / 1e9))
        };
        SIZES.iter().filter_map(point).collect()
    });
    let x = Axis {
        name: "bytes of a message",
        range: (64.0, 16384.0),
        base: 4.0,
        label: |x| format!("{x:.0}"),
    };
    let y = Axis {
        name: "GB/s of payload",
        range: (0.01, 30.0),
        base: 10.0,
        label: |y| format!("{y}"),
    };
    let title = "Throughput, one writer and one reader that is behind";
    plot(
        &directory.join("throughput.svg"),
        title,
        [&x, &y],
        SeriesLabelPosition::LowerRight,
        &lines,
    )
}

fn percentiles(
    results: &Results,
    (table, drive): (&str, Drive),
    title: &str,
    path: &Path,
) -> Result<()> {
    let lines = lines(|systems| {
        let point = |(name, at): &(&str, f64)| {
            let took = |system| results.median(table, &case(drive, 64), system, name);
            Some((*at, systems.iter().copied().filter_map(took).reduce(f64::min)?))
        };
        PERCENTILES.iter().filter_map(point).collect()
    });
    let label = |x: f64| {
        let named = PERCENTILES.iter().find(|(_, at)| (at / x - 1.0).abs() < 0.01);
        named.map_or(String::new(), |(name, _)| (*name).to_owned())
    };
    let x = Axis { name: "percentile", range: (1.0, 1e4), base: 10.0, label };
    let y =
        Axis { name: "nanoseconds", range: (100.0, 1e7), base: 10.0, label: |y| format!("{y:.0}") };
    plot(path, title, [&x, &y], SeriesLabelPosition::UpperLeft, &lines)
}

fn lines(points: impl Fn(&[&str]) -> Vec<(f64, f64)>) -> Vec<Line> {
    let line = |(systems, name, colour)| Line { name, colour, points: points(systems) };
    SHOWN.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// Draws lines over two logarithmic axes; nothing if there are none.
fn plot(
    path: &Path,
    title: &str,
    [x, y]: [&Axis; 2],
    legend: SeriesLabelPosition,
    lines: &[Line],
) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(
            (x.range.0..x.range.1).log_scale().base(x.base),
            (y.range.0..y.range.1).log_scale(),
        )
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(240, 240, 240))
        .x_desc(x.name)
        .y_desc(y.name)
        .x_label_formatter(&|value| (x.label)(*value))
        .y_label_formatter(&|value| (y.label)(*value))
        .draw()
        .map_err(|error| failed(&error))?;
    for line in lines {
        let style = line.colour.stroke_width(2);
        let colour = line.colour;
        chart
            .draw_series(LineSeries::new(line.points.clone(), style).point_size(3))
            .map_err(|error| failed(&error))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}
