//! Bytes, and the space behind them.

use chronicle_sync::{Region, RegionExt, RegionMutExt, Stage, Storage};

use crate::Harness;
use crate::bench::{Bench, done, reader, segment, stage, there};
use crate::report::{Verdict, ensure};

const LENGTH: u64 = 8192;

pub(crate) fn a_staged_object_is_zeroed<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    // The second time the backend may hand out what was used before.
    for _ in 0..2 {
        let staged = done("stage", bench.storage().stage(&segment(0), &stage(LENGTH)))?;
        for at in (0..LENGTH).step_by(8) {
            let [word] = there("a word", staged.copy_words(at))?;
            ensure!(word == 0, "the word at {at} is {word:#x}");
            there("a word", staged.store_words(at, &[u64::MAX]))?;
        }
        let map = done("publish", bench.storage().publish(staged))?;
        drop(map);
        done("remove", bench.storage().remove(&segment(0)))?;
    }
    Ok(())
}

pub(crate) fn regions_have_the_size_that_was_asked_for<H: Harness>(harness: &H) -> Verdict {
    // An index has a size that is no multiple of a page, and an object may be empty.
    for length in [0, 32, 96, 4096, 4096 + 64, LENGTH] {
        let bench = Bench::new(harness);
        let staged = done("stage", bench.storage().stage(&segment(0), &stage(length)))?;
        let sizes = (length, staged.size() as u64);
        ensure!(sizes.0 == sizes.1, "staged with {length} bytes, it has {}", sizes.1);
        let map = done("publish", bench.storage().publish(staged))?;
        let opened = done("open", bench.other().open(&segment(0)))?;
        let view = done("view", bench.other().view(&segment(0)))?;
        let sizes = [map.size(), opened.size(), view.size()];
        ensure!(
            sizes.iter().all(|size| *size as u64 == length),
            "made with {length} bytes; published, opened and viewed: {sizes:?}"
        );
        ensure!(view.read_u64(length).is_none(), "there is a word behind the end");
    }
    Ok(())
}

pub(crate) fn regions_are_aligned_and_stay_where_they_are<H: Harness>(harness: &H) -> Verdict {
    for length in [0, 96, LENGTH] {
        let bench = Bench::new(harness);
        let staged = done("stage", bench.storage().stage(&segment(0), &stage(length)))?;
        stays("staged", staged)?;
        stays("published", bench.make(&segment(0), length)?)?;
        stays("opened", done("open", bench.storage().open(&segment(0)))?)?;
        stays("viewed", done("view", bench.storage().view(&segment(0)))?)?;
    }
    Ok(())
}

fn stays(what: &str, region: impl Region) -> Verdict {
    let base = region.base();
    ensure!(base.as_ptr().addr().is_multiple_of(64), "{what}: {base:p} is not aligned to 64 bytes");
    let moved = Box::new(region);
    ensure!(moved.base() == base, "{what}: the base moves with the value");
    Ok(())
}

pub(crate) fn what_was_stored_before_publishing_is_there<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let staged = done("stage", bench.storage().stage(&segment(0), &stage(LENGTH)))?;
    there("words", staged.store_words(LENGTH - 16, &[7, 8]))?;
    done("sync what is staged", bench.storage().sync_staged(&staged))?;
    let map = done("publish", bench.storage().publish(staged))?;
    ensure!(map.copy_words(LENGTH - 16) == Some([7, 8]), "the published region has other bytes");
    let view = done("view", bench.other().view(&segment(0)))?;
    ensure!(view.copy_words(LENGTH - 16) == Some([7, 8]), "a view has other bytes");
    Ok(())
}

pub(crate) fn all_regions_of_an_object_show_the_same_bytes<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&segment(0), LENGTH)?;
    let opened = done("open", bench.other().open(&segment(0)))?;
    let view = done("view", bench.storage().view(&segment(0)))?;
    let far = done("view", bench.other().view(&segment(0)))?;
    there("a word", map.publish_u64(64, 1))?;
    there("a word", opened.publish_u32(LENGTH - 4, 2))?;
    for (what, words) in [
        ("the published region", (map.copy_words(64), map.read_u32(LENGTH - 4))),
        ("an opened one", (opened.copy_words(64), opened.read_u32(LENGTH - 4))),
        ("a view", (view.copy_words(64), view.read_u32(LENGTH - 4))),
        ("another handle's view", (far.copy_words(64), far.read_u32(LENGTH - 4))),
    ] {
        let (first, last) = (words.0, words.1.map(|word| word.load_acquire()));
        ensure!((first, last) == (Some([1]), Some(2)), "{what} shows {first:?} and {last:?}");
    }
    Ok(())
}

pub(crate) fn objects_do_not_share_bytes<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let maps = [
        bench.make(&segment(0), 4096)?,
        bench.make(&segment(1), 4096)?,
        bench.make(&reader("a")?, 4096)?,
    ];
    for (number, map) in maps.iter().enumerate() {
        for at in (0..4096).step_by(8) {
            there("a word", map.store_words(at, &[number as u64 + 1]))?;
        }
    }
    for (number, map) in maps.iter().enumerate() {
        for at in (0..4096).step_by(8) {
            let word = map.copy_words(at);
            ensure!(word == Some([number as u64 + 1]), "object {number} shows {word:?} at {at}");
        }
    }
    Ok(())
}

pub(crate) fn copying_out_gives_what_is_there_and_no_more<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&reader("a")?, 4096)?;
    there("words", map.store_words(8, &[0x0807_0605_0403_0201]))?;
    let object = reader("a")?;
    for (at, length, expected) in [
        (8u64, 8usize, vec![1u8, 2, 3, 4, 5, 6, 7, 8]),
        (11, 3, vec![4, 5, 6]),
        (0, 10, vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
        (4090, 16, vec![0; 6]),
        (4096, 8, vec![]),
        (u64::MAX, 8, vec![]),
        (0, 0, vec![]),
    ] {
        let mut bytes = vec![0xee; length];
        let count = done("copy out", bench.other().copy_out(&object, at, &mut bytes))?;
        ensure!(count == expected.len(), "{length} bytes at {at}: {count} were copied");
        ensure!(bytes.get(..count) == Some(&expected[..]), "{length} bytes at {at}: {bytes:?}");
        ensure!(
            bytes.iter().skip(count).all(|byte| *byte == 0xee),
            "{length} bytes at {at}: bytes behind the {count} were touched"
        );
    }
    Ok(())
}

pub(crate) fn reserving_keeps_bytes_and_stays_inside<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let sparse = Stage { length: LENGTH, reserved: 4096, group_readable: false };
    let staged = done("stage", bench.storage().stage(&segment(0), &sparse))?;
    there("words", staged.store_words(8, &[1, 2, 3]))?;
    let map = done("publish", bench.storage().publish(staged))?;
    for range in [0..0, 0..64, 100..200, 0..LENGTH, 4096..LENGTH, LENGTH..LENGTH] {
        done("reserve", bench.storage().reserve(&map, range))?;
    }
    ensure!(map.copy_words(0) == Some([0, 1, 2, 3, 0]), "reserving changed bytes");
    ensure!(map.copy_words(LENGTH - 8) == Some([0]), "reserved space is not zeroed");
    there("the last word", map.store_words(LENGTH - 8, &[9]))?;
    let view = done("view", bench.other().view(&segment(0)))?;
    ensure!(view.copy_words(LENGTH - 8) == Some([9]), "the reserved space is not the object's");
    Ok(())
}

pub(crate) fn reserving_more_than_there_is_is_refused<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let stage = Stage { length: 4096, reserved: 8192, group_readable: false };
    ensure!(
        bench.storage().stage(&segment(0), &stage).is_err(),
        "more was reserved than the object is long"
    );
    let map = bench.make(&segment(0), 4096)?;
    for range in [0..4097, 8192..8200, 4096..u64::MAX] {
        let what = format!("{range:?} of 4096 bytes");
        ensure!(bench.storage().reserve(&map, range).is_err(), "{what} were reserved");
    }
    let view = done("view", bench.other().view(&segment(0)))?;
    ensure!(view.size() == 4096, "the object has grown to {} bytes", view.size());
    Ok(())
}

pub(crate) fn prefaulting_is_only_a_hint<H: Harness>(harness: &H) -> Verdict {
    let bench = Bench::new(harness);
    let map = bench.make(&segment(0), LENGTH)?;
    there("a word", map.store_words(4096, &[4]))?;
    for range in [0..LENGTH, 4000..5000, 0..u64::MAX, u64::MAX..u64::MAX, LENGTH..LENGTH] {
        bench.storage().prefault(&map, range);
    }
    ensure!(map.copy_words(4088) == Some([0, 4]), "prefaulting changed bytes");
    Ok(())
}
