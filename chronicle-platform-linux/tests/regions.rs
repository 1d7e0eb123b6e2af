//! What is mapped, with what rights, and with how much space behind it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use chronicle_sync::{Error, ErrorKind, Region, RegionExt, RegionMutExt, Stage, Storage};
use support::{Queue, platform, segment, stage, with_failing};

/// What /proc/self/smaps says of the mapping with this base: its rights and its flags.
fn mapped(region: &impl Region) -> (String, String) {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{:x}-", region.base().as_ptr().addr());
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
    let rights = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap().to_owned();
    (rights, flags)
}

#[test]
fn a_view_cannot_be_stored_to_even_if_asked_for() {
    let queue = Queue::new();
    queue.make(&segment(0), 4096);
    let view = queue.storage().view(&segment(0)).unwrap();
    assert_eq!(mapped(&view).0, "r--s");
    let writable = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
    // SAFETY: the bytes are this view's. Nobody stores to them whatever comes of it.
    let error = unsafe { rustix::mm::mprotect(view.base().as_ptr().cast(), 4096, writable) };
    assert_eq!(error.unwrap_err(), rustix::io::Errno::ACCESS);
}

#[test]
fn a_view_needs_no_descriptor() {
    let queue = Queue::new();
    queue.make(&segment(0), 4096).store_words(0, &[9]).unwrap();
    let descriptors = || support::names("/proc/self/fd".as_ref()).len();
    // Other tests of this process open files too, so the number is only looked at on average.
    let before = descriptors();
    let views: Vec<_> = (0..200).map(|_| queue.storage().view(&segment(0)).unwrap()).collect();
    assert!(descriptors() < before + 100);
    assert!(views.iter().all(|view| view.copy_words(0) == Some([9])));
}

#[test]
fn what_can_be_stored_to_does_not_exist_in_a_forked_child() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 4096);
    let (rights, flags) = mapped(&map);
    assert_eq!(rights, "rw-s");
    assert!(flags.split(' ').any(|flag| flag == "dc"), "do not copy on fork: {flags}");
    let opened = queue.storage().open(&segment(0)).unwrap();
    assert!(mapped(&opened).1.split(' ').any(|flag| flag == "dc"));
}

#[test]
fn a_mapping_goes_with_its_value() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 1 << 20);
    let path = queue.path("000000000.q");
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(path.to_str().unwrap())
    };
    assert!(is_mapped());
    drop(map);
    assert!(!is_mapped());
}

#[test]
fn an_empty_file_opens_as_an_empty_region() {
    let queue = Queue::new();
    std::fs::write(queue.path("000000000.q"), "").unwrap();
    let map = queue.storage().open(&segment(0)).unwrap();
    let view = queue.storage().view(&segment(0)).unwrap();
    assert_eq!((map.size(), view.size()), (0, 0));
    assert_eq!(map.base().as_ptr().addr() % 64, 0);
    assert!(view.read_u32(0).is_none());
    queue.storage().reserve(&map, 0..0).unwrap();
    queue.storage().prefault(&map, 0..4096);
    assert!(queue.storage().reserve(&map, 0..1).is_err());
    assert_eq!(queue.path("000000000.q").metadata().unwrap().len(), 0);
}

#[test]
fn a_region_has_the_size_of_its_file() {
    let queue = Queue::new();
    std::fs::write(queue.path("000000000.q"), [1; 5001]).unwrap();
    let view = queue.storage().view(&segment(0)).unwrap();
    assert_eq!(view.size(), 5001);
    assert!(view.read_u64(4992).is_some());
    assert!(view.read_u64(5000).is_none());
}

#[test]
fn a_file_that_no_mapping_can_hold_is_an_error() {
    let queue = Queue::new();
    let file = std::fs::File::create(queue.path("000000000.q")).unwrap();
    // Larger than the addresses of a process, if the file system has files that large.
    let Some(length) = (40..63).rev().map(|bit| 1 << bit).find(|at| file.set_len(*at).is_ok())
    else {
        return eprintln!("SKIPPED: the file system has no large files");
    };
    match queue.storage().view(&segment(0)) {
        Err(error) => eprintln!("{length} bytes: {error}"),
        Ok(view) => assert_eq!(view.size() as u64, length),
    }
}

#[test]
fn reserved_space_is_real_and_what_has_space_keeps_its_bytes() {
    let queue = Queue::new();
    let half = Stage { length: 1 << 20, reserved: 1 << 19, group_readable: false };
    let staged = queue.storage().stage(&segment(0), &half).unwrap();
    staged.store_words(8, &[1, 2, 3]).unwrap();
    let map = queue.storage().publish(staged).unwrap();
    let space = || queue.path("000000000.q").metadata().unwrap().blocks() * 512;
    assert!(((1 << 19)..(1 << 20)).contains(&space()), "{}", space());
    queue.storage().reserve(&map, 0..1 << 20).unwrap();
    assert!(space() >= 1 << 20);
    assert_eq!(map.copy_words(0), Some([0, 1, 2, 3, 0]));
    assert_eq!(map.copy_words((1 << 20) - 8), Some([0]));
}

#[test]
fn reserving_behind_the_end_is_an_error_and_does_not_grow_the_file() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 4096);
    queue.storage().reserve(&map, 0..4097).unwrap_err();
    queue.storage().reserve(&map, 8192..u64::MAX).unwrap_err();
    assert_eq!(queue.path("000000000.q").metadata().unwrap().len(), 4096);
}

#[test]
fn prefaulting_makes_pages_present_and_keeps_their_bytes() {
    let queue = Queue::new();
    let map = queue.make(&segment(0), 1 << 20);
    map.store_words(70_000, &[4]).unwrap();
    let page = rustix::param::page_size() as u64;
    let present = |at: u64| {
        // proc_pid_pagemap(5): 64 bits for each page, the highest of which says that it is present.
        let index = (map.base().as_ptr().addr() as u64 + at) / page;
        let mut entry = [0; 8];
        let pages = std::fs::File::open("/proc/self/pagemap").unwrap();
        pages.read_exact_at(&mut entry, index * 8).unwrap();
        u64::from_le_bytes(entry) >> 63 == 1
    };
    let range = (1 << 18) + 1..(1 << 19) + 1;
    assert!(!present(range.start));
    queue.storage().prefault(&map, range.clone());
    for at in range.clone().step_by(4096).chain([range.end - 1]) {
        assert!(present(at), "{at}");
    }
    assert!(!present((1 << 20) - 1));
    assert_eq!(map.copy_words(70_000), Some([4]));
    queue.storage().prefault(&map, 0..u64::MAX);
    queue.storage().prefault(&map, u64::MAX..u64::MAX);
    #[allow(clippy::reversed_empty_ranges, reason = "a caller's mistake is no fault of the hint")]
    queue.storage().prefault(&map, 8192..0);
}

/// Bytes of a file that its file system marks as allocated and never written; `None` if it does not say
/// (`FS_IOC_FIEMAP`, Documentation/filesystems/fiemap.rst).
fn unwritten(file: &std::fs::File) -> Option<u64> {
    const FIEMAP: libc::Ioctl = 0xc020_660b_u32 as libc::Ioctl;
    const UNWRITTEN: u64 = 0x800;
    const EXTENTS: usize = 512;
    // Start, length, flags, mapped extents, their number and a word that is reserved; then seven words for each extent.
    let mut request = [0u64; 4 + 7 * EXTENTS];
    request[1] = u64::MAX;
    request[3] = EXTENTS as u64;
    // SAFETY: the request is as long as its number of extents says.
    if unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP, request.as_mut_ptr()) } != 0 {
        return None;
    }
    let mapped = (request[2] >> 32) as usize;
    let extents = request[4..].as_chunks().0.iter().take(mapped);
    let unwritten = extents.filter(|[_, _, _, _, _, flags, _]| flags & UNWRITTEN != 0);
    Some(unwritten.map(|[_, _, length, ..]| length).sum())
}

#[test]
fn what_is_written_before_it_has_a_name_is_marked_as_written() {
    const SIZE: u64 = 4 << 20;
    let queue = Queue::new();
    let staged = queue.storage().stage(&segment(0), &stage(SIZE)).unwrap();
    queue.storage().write_staged(&staged, 0..SIZE / 2).unwrap();
    queue.storage().write_staged(&staged, SIZE..u64::MAX).unwrap();
    queue.storage().write_staged(&staged, u64::MAX..u64::MAX).unwrap();
    let map = queue.storage().publish(staged).unwrap();
    let file = std::fs::File::open(queue.path("000000000.q")).unwrap();
    let other = queue.make(&segment(1), SIZE);
    if unwritten(&std::fs::File::open(queue.path("000000001.q")).unwrap()) != Some(SIZE) {
        println!("SKIPPED: this file system does not say what was never written");
        return;
    }
    assert_eq!(unwritten(&file), Some(SIZE / 2));
    for offset in (0..SIZE).step_by(4096) {
        assert_eq!([&map, &other].map(|map| map.copy_words(offset)), [Some([0]); 2]);
    }
}

#[test]
fn a_failed_allocation_leaves_nothing() {
    let queue = Queue::new();
    for (errno, kind) in [
        (libc::EOPNOTSUPP, ErrorKind::Unsupported),
        (libc::EDQUOT, ErrorKind::NoSpace),
        (libc::EFBIG, ErrorKind::NoSpace),
        // Interrupted again and again: given up at some time.
        (libc::EINTR, ErrorKind::Other),
    ] {
        let error = with_failing(libc::SYS_fallocate, errno, || {
            queue.storage().stage(&segment(0), &stage(1 << 20)).unwrap_err()
        });
        assert_eq!((error.kind(), error.raw_os_error()), (kind, Some(errno)));
        assert!(queue.names().is_empty());
    }
}

/// A small file system, if this process may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(directory.path());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_no_space_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return eprintln!("SKIPPED: no right to mount a tmpfs, so no full disk was tried");
    };
    let platform = platform(disk.0.path());
    let storage = chronicle_sync::Platform::storage(&platform);
    let error = storage.stage(&segment(0), &stage(8 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(error.to_string(), "fallocate: No space left on device (os error 28)");
    assert!(support::names(disk.0.path()).is_empty());

    let sparse = Stage { length: 8 << 20, reserved: 4096, group_readable: false };
    let staged = storage.stage(&segment(0), &sparse).unwrap();
    let error = storage.reserve_staged(&staged, 4096, 8192).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    drop(staged);
    assert!(support::names(disk.0.path()).is_empty());
    let map = storage.publish(storage.stage(&segment(0), &sparse).unwrap()).unwrap();
    map.store_words(0, &[1]).unwrap();
    assert_eq!(storage.reserve(&map, 0..8 << 20).unwrap_err().kind(), ErrorKind::NoSpace);
    storage.prefault(&map, 0..8 << 20);
    assert_eq!(map.copy_words(0), Some([1]));
    drop(map);
    storage.remove(&segment(0)).unwrap();
    support::make(storage, &segment(0), 1 << 19);
}

/// Bytes of a region that the kernel maps in large pages.
fn in_large_pages(region: &impl Region) -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{:x}-", region.base().as_ptr().addr());
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
    let line = lines.find(|line| line.starts_with("ShmemPmdMapped:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Whether the kernel makes large pages in this directory now: one is asked for.
fn are_large_pages_to_be_had(directory: &std::path::Path) -> bool {
    const COLLAPSE: i32 = 25;
    let mut options = std::fs::File::options();
    let file = options.read(true).write(true).create_new(true).open(directory.join("probe"));
    let file = file.unwrap();
    file.set_len(4 << 20).unwrap();
    file.write_all_at(&[1], 2 << 20).unwrap();
    file.write_all_at(&[1], 0).unwrap();
    let map = chronicle_platform_linux::LinuxMap::of(file.into()).unwrap();
    let base = map.base().as_ptr();
    // SAFETY: the pages are the mapping's, and keep their contents.
    base.addr().is_multiple_of(2 << 20)
        && unsafe { libc::madvise(base.cast(), 4 << 20, COLLAPSE) } == 0
}

/// A queue in tmpfs, as often as it takes until the kernel had time for all large pages that `has_large_pages` wants: one that
/// takes long, on a machine that is busy, is the last one of its call.
fn with_large_pages(has_large_pages: impl Fn(&Queue) -> bool) {
    for _ in 0..20 {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
            return println!("SKIPPED: there is no /dev/shm");
        };
        let queue = Queue::in_directory(directory);
        let are_large = are_large_pages_to_be_had(queue.directory.path());
        if has_large_pages(&queue) {
            return;
        }
        if !are_large {
            return println!(
                "SKIPPED: this kernel makes no large pages in /dev/shm, or has no memory for them now"
            );
        }
    }
    panic!("large pages are to be had, and none was there");
}

#[test]
fn space_in_memory_is_in_large_pages_for_every_process() {
    const SIZE: u64 = 7 << 20;
    with_large_pages(|queue| {
        let map = queue.make(&segment(0), SIZE);
        let view = queue.storage().view(&segment(0)).unwrap();
        let metadata = std::fs::metadata(queue.path("000000000.q")).unwrap();
        assert_eq!(metadata.blocks() * 512, SIZE, "all of it has space, and no more");
        for offset in (0..SIZE).step_by(4096) {
            assert_eq!(view.copy_words(offset), Some([0]));
            map.store_words(offset, &[offset + 1]).unwrap();
            assert_eq!(view.copy_words(offset), Some([offset + 1]));
        }
        // What has bytes keeps them.
        queue.storage().reserve(&map, 0..SIZE).unwrap();
        queue.storage().prefault(&map, 0..SIZE);
        assert!((0..SIZE).step_by(4096).all(|at| view.copy_words(at) == Some([at + 1])));
        // Of seven MiB three pairs.
        [in_large_pages(&map), in_large_pages(&view)] == [6 << 20; 2]
    });
}

#[test]
fn space_in_memory_is_provided_a_large_page_at_a_time_for_who_asks_so() {
    const SIZE: u64 = 7 << 20;
    with_large_pages(|queue| {
        let stage = Stage { length: SIZE, reserved: 4096, group_readable: false };
        let staged = queue.storage().stage(&segment(0), &stage).unwrap();
        staged.store_words(8, &[1, 2, 3]).unwrap();
        let mut reserved = 4096;
        let mut seen = Vec::new();
        while reserved < SIZE {
            reserved = queue.storage().reserve_staged(&staged, reserved, reserved + 4096).unwrap();
            seen.push(reserved >> 20);
        }
        let map = queue.storage().publish(staged).unwrap();
        let metadata = std::fs::metadata(queue.path("000000000.q")).unwrap();
        assert_eq!(metadata.blocks() * 512, SIZE, "after {seen:?}");
        assert_eq!(map.copy_words(0), Some([0, 1, 2, 3, 0]));
        seen == [2, 4, 6, 7] && in_large_pages(&map) == 6 << 20
    });
}

/// Where large pages have another size, or a mapping could not be aligned to them, the kernel does nothing and says so to nobody.
#[test]
fn space_is_real_where_the_kernel_only_says_that_it_made_large_pages() {
    const SIZE: u64 = 4 << 20;
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED: there is no /dev/shm");
        return;
    };
    let queue = Queue::in_directory(directory);
    let stage = Stage { length: SIZE, reserved: 4096, group_readable: false };
    let (reserved, map) = with_failing(libc::SYS_madvise, 0, || {
        let staged = queue.storage().stage(&segment(0), &stage).unwrap();
        let reserved = queue.storage().reserve_staged(&staged, 4096, 8192).unwrap();
        (reserved, queue.storage().publish(staged).unwrap())
    });
    let space = queue.path("000000000.q").metadata().unwrap().blocks() * 512;
    assert!((8192..=SIZE).contains(&reserved) && space >= reserved, "{space} of {reserved}");
    drop(map);
}

#[test]
fn space_on_a_disk_is_provided_at_once_however_little_is_asked_for() {
    let queue = Queue::new();
    let stage = Stage { length: 4 << 20, reserved: 4096, group_readable: false };
    let staged = queue.storage().stage(&segment(0), &stage).unwrap();
    let reserved = queue.storage().reserve_staged(&staged, 4096, 8192).unwrap();
    let map = queue.storage().publish(staged).unwrap();
    let space = queue.path("000000000.q").metadata().unwrap().blocks() * 512;
    assert!(space >= reserved, "{reserved} is more than the {space} that there are");
    assert!((8192..=map.size() as u64).contains(&reserved));
}

#[test]
fn parts_of_large_pages_are_small_ones() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED: there is no /dev/shm");
        return;
    };
    let queue = Queue::in_directory(directory);
    let stage = Stage { length: 8 << 20, reserved: 1 << 20, group_readable: false };
    let staged = queue.storage().stage(&segment(0), &stage).unwrap();
    let map = queue.storage().publish(staged).unwrap();
    let space = || std::fs::metadata(queue.path("000000000.q")).unwrap().blocks() * 512;
    assert_eq!(space(), 1 << 20);
    for end in 2..=8 {
        queue.storage().reserve(&map, (end - 1) << 20..end << 20).unwrap();
        assert_eq!(space(), end << 20, "a step provides what was asked for");
    }
}
