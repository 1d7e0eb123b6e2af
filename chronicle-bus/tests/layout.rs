//! Where things lie on a bus, and that nothing leads out of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use chronicle_bus::{BusError, BusLayout, NAME_LIMIT, StrategyId};
use chronicle_std::{ReaderConfig, WriterConfig};

#[test]
fn every_queue_has_the_path_that_the_page_says() {
    let bus = BusLayout::new("/bus").unwrap();
    let path = |endpoint: chronicle_bus::QueueEndpoint| endpoint.path().display().to_string();
    let feed = bus.live("market_data", "demo_feed").unwrap();
    assert_eq!(path(feed), "/bus/live/market_data/queue/demo_feed");
    let kept = bus.archive("market_data", "demo_feed").unwrap();
    assert_eq!(path(kept), "/bus/archive/market_data/queue/demo_feed");
    let strategy = bus.strategy(StrategyId::new("momentum-2").unwrap());
    assert_eq!(path(strategy.orders_out()), "/bus/orders/queue/momentum-2/orders_out");
    assert_eq!(path(strategy.orders_in()), "/bus/orders/queue/momentum-2/orders_in");
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    let bus = BusLayout::new("/bus").unwrap();
    let long = "x".repeat(NAME_LIMIT + 1);
    for name in ["", ".", "..", "a/b", "../a", "/a", "a b", "a.b", "ä", "a\0", "a\n", &long] {
        for refused in [
            StrategyId::new(name).map(drop),
            bus.live(name, "feed").map(drop),
            bus.live("stream", name).map(drop),
            bus.archive(name, "feed").map(drop),
            bus.archive("stream", name).map(drop),
        ] {
            let error = refused.unwrap_err();
            assert!(matches!(&error, BusError::InvalidName { name: named } if named == name));
        }
    }
    StrategyId::new(&"x".repeat(NAME_LIMIT)).unwrap();
}

#[test]
fn a_link_below_the_root_is_refused_wherever_it_is() {
    for place in ["live", "live/stream", "live/stream/queue", "live/stream/queue/feed"] {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("bus"), directory.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let link = root.join(place);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&outside, &link).unwrap();

        let feed = BusLayout::new(&root).unwrap().live("stream", "feed").unwrap();
        let config = WriterConfig::default();
        for refused in [
            feed.open_publisher(config.clone()).map(drop),
            feed.create(config).map(drop),
            feed.open_reader(ReaderConfig::default()).map(drop),
        ] {
            let error = refused.unwrap_err();
            assert!(matches!(&error, BusError::Refused { path } if *path == link), "{error}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{place}");
    }
}

#[test]
fn a_file_where_a_directory_belongs_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("live"), "").unwrap();
    let feed = BusLayout::new(directory.path()).unwrap().live("stream", "feed").unwrap();
    let error = feed.open_publisher(WriterConfig::default()).map(drop).unwrap_err();
    assert!(matches!(error, BusError::Refused { .. }), "{error}");
}

#[test]
fn the_root_may_be_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (root, link) = (directory.path().join("bus"), directory.path().join("link"));
    fs::create_dir(&root).unwrap();
    symlink(&root, &link).unwrap();
    let feed = BusLayout::new(&link).unwrap().live("stream", "feed").unwrap();
    feed.create(WriterConfig::default()).unwrap();
    assert!(root.join("live/stream/queue/feed/control.meta").exists());
}

#[test]
fn what_is_not_there_is_told_from_what_is_refused_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("bus");
    let feed = BusLayout::new(&root).unwrap().live("stream", "feed").unwrap();
    let error = feed.open_reader(ReaderConfig::default()).map(drop).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(!root.exists());
}

#[test]
fn a_queue_is_made_once_and_its_directories_are_its_owners() {
    let directory = tempfile::tempdir().unwrap();
    let feed = BusLayout::new(directory.path()).unwrap().live("stream", "feed").unwrap();
    feed.create(WriterConfig::default()).unwrap();
    let mut writer = feed.open_publisher(WriterConfig::default()).unwrap();
    feed.create(WriterConfig::default()).unwrap();
    writer.append(0x8000, b"still the same queue").unwrap();
    assert_eq!(writer.next_seq(), 1);
    for name in ["live", "live/stream", "live/stream/queue"] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}
