/// CRC-32C of pieces, one after the other, bit by bit as RFC 3720 defines it: code of its own, so that
/// a fault of the library's shows.
pub(crate) fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in pieces.iter().copied().flatten() {
        crc = TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8;
    }
    !crc
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[test]
fn the_check_value_of_the_format_page_comes_out() {
    assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
}
