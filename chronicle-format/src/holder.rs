use core::fmt;

use heapless::String;

/// Who holds a lock, as the holder wrote it down. For people only: whether it is still held is the
/// kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Holder {
    /// Process id in the holder's namespace.
    pub pid: u32,
    /// Start time of the process, to tell reused pids apart: on Linux in clock ticks since boot, on
    /// macOS in microseconds since 1970.
    pub start_time: u64,
    /// Identity of the boot.
    pub boot: u64,
    /// The holder's epoch.
    pub epoch: u32,
}

/// The text of a [`Holder`], as `writer.lock` contains it.
pub type HolderText = String<128>;

impl Holder {
    /// One line of text.
    #[must_use]
    pub fn encode(&self) -> HolderText {
        let mut text = HolderText::new();
        let Self { pid, start_time, boot, epoch } = self;
        // 128 bytes hold the largest values of all four fields.
        let _ = fmt::write(
            &mut text,
            format_args!("pid={pid} start_time={start_time} boot={boot:016x} epoch={epoch}\n"),
        );
        text
    }

    /// Reads the line; `None` if it is anything else.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut holder = Self::default();
        let mut seen = 0;
        for pair in text.split_ascii_whitespace() {
            let (key, value) = pair.split_once('=')?;
            match key {
                "pid" => holder.pid = value.parse().ok()?,
                "start_time" => holder.start_time = value.parse().ok()?,
                "boot" => holder.boot = u64::from_str_radix(value, 16).ok()?,
                "epoch" => holder.epoch = value.parse().ok()?,
                _ => continue,
            }
            seen += 1;
        }
        (seen == 4).then_some(holder)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (epoch {})", self.pid, self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_survives_a_round_trip_at_its_longest() {
        let holder =
            Holder { pid: u32::MAX, start_time: u64::MAX, boot: u64::MAX, epoch: u32::MAX };
        let text = holder.encode();
        assert!(text.ends_with('\n'), "{text:?}");
        assert_eq!(Holder::decode(&text), Some(holder));
    }

    #[test]
    fn anything_else_is_no_holder() {
        for text in ["", "pid=1", "garbage", "pid=x start_time=1 boot=1 epoch=1"] {
            assert_eq!(Holder::decode(text), None, "{text:?}");
        }
    }
}
