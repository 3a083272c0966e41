//! Bytes as people read them.

/// Two lower-case hexadecimal digits a byte (RFC 4648, section 8).
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|&byte| hex_digits(byte)).map(char::from));
    text
}

/// The two digits of one byte.
pub const fn hex_digits(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte & 15)]
}

const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::hex(&[0, 1, 0x10, 0xff]), "000110ff");
        assert_eq!(super::hex(&[]), "");
    }
}
