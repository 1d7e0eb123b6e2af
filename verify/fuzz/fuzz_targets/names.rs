//! Names of objects: nothing that is not one is taken for one, and none leads out of the queue.
#![no_main]

use chronicle_sync::Object;
use chronicle_sync::format::{ReaderName, SegmentId};
use libfuzzer_sys::fuzz_target;

fn stays_inside(object: &Object) {
    let name = object.name();
    let file = name.file.as_str();
    assert!(!file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\0']));
    assert!(name.directory.is_none_or(|directory| directory == "readers"));
}

fuzz_target!(|text: &str| {
    if let Ok(name) = ReaderName::new(text) {
        assert_eq!(name.as_str(), text);
        let object = Object::Reader(name);
        stays_inside(&object);
        assert_eq!(Object::reader_named(&object.name().file).map(Object::Reader), Some(object));
    }
    if let Some(reader) = Object::reader_named(text) {
        assert_eq!(Object::Reader(reader).name().file.as_str(), text);
    }
    if let Some(id) = Object::segment_named(text) {
        let object = Object::Segment(id);
        stays_inside(&object);
        assert_eq!(object.name().file.as_str(), text);
    }
    if let Ok(number) = text.parse::<u64>()
        && let Ok(id) = SegmentId::new(number)
    {
        stays_inside(&Object::Index(id));
        let object = Object::Segment(id);
        assert_eq!(Object::segment_named(&object.name().file), Some(id));
    }
});
