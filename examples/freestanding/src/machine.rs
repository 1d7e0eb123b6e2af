//! What a board brings along: the first instruction, a console, a timer, and an end.
//!
//! Unsafe lives here because all of it is instructions: this machine is the kernel of Linux, asked by
//! system calls (`syscall(2)`, x86-64).

use core::arch::{asm, naked_asm};
use core::fmt;
use core::panic::PanicInfo;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "this machine is Linux on x86-64; for another one, write its console, timer and end"
);

const WRITE: usize = 1;
const CLOCK_GETTIME: usize = 228;
const EXIT_GROUP: usize = 231;

const STANDARD_OUTPUT: usize = 1;
const MONOTONIC: usize = 1;

/// # Safety
/// The arguments have to be what the call asks for.
unsafe fn call(number: usize, first: usize, second: usize, third: usize) -> usize {
    let result;
    // SAFETY: the kernel keeps all registers but these three, and touches no memory but what the
    // arguments point to, for which the caller answers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Where lines are printed.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: write(2) reads as many bytes as the text has.
        let written = unsafe { call(WRITE, STANDARD_OUTPUT, text.as_ptr().addr(), text.len()) };
        if written == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// A timer that does not run backwards.
pub fn nanoseconds() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: clock_gettime(2) writes two words, which are there.
    unsafe { call(CLOCK_GETTIME, MONOTONIC, time.as_mut_ptr().expose_provenance(), 0) };
    let [seconds, nanoseconds] = time;
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

fn end(code: u8) -> ! {
    loop {
        // SAFETY: exit_group(2) takes a number, and does not return.
        unsafe { call(EXIT_GROUP, code.into(), 0, 0) };
    }
}

/// The first instruction: the kernel leaves the stack aligned to 16 bytes, and a function expects it
/// as it is behind a call.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "call {begin}", "ud2", begin = sym begin)
}

extern "C" fn begin() -> ! {
    end(crate::main())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = fmt::Write::write_fmt(&mut Console, format_args!("{info}\n"));
    end(101)
}

// What follows a target without an operating system brings along by itself. That of Linux leaves it to
// the C library, and is built to unwind.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller has `count` bytes at both, which do not overlap.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") count => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: forwards, no byte is stored to before it was read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller has `count` bytes at both, one at least. Backwards, from the last one, no byte
    // is stored to before it was read.
    unsafe {
        asm!(
            "std",
            "rep movsb",
            "cld",
            inout("rcx") count => _,
            inout("rdi") to.wrapping_add(count - 1) => _,
            inout("rsi") from.wrapping_add(count - 1) => _,
            options(nostack),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller has `count` bytes there.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") count => _,
            inout("rdi") to => _,
            in("al") byte as u8,
            options(nostack, preserves_flags),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: the caller has `count` bytes at both.
        let (a, b) = unsafe { (one.add(at).read(), other.add(at).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: as of the caller.
    unsafe { memcmp(one, other, count) }
}

/// Named by tables for unwinding, and never called: panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
