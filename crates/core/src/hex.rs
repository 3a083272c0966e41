//! Hexadecimal text.

/// Returns two lower-case hexadecimal digits a byte (RFC 4648, section 8).
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|&byte| hex_digits(byte)).map(char::from));
    text
}

/// Returns the two digits of one byte.
pub const fn hex_digits(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte & 15)]
}

const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

/// Returns the bytes of hexadecimal digits of either case; `None` unless there are two digits for each byte.
pub fn bytes_of_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::hex(&[0, 1, 0x10, 0xff]), "000110ff");
        assert_eq!(super::hex(&[]), "");
    }

    #[test]
    fn digits_of_either_case_are_read_back_and_nothing_else() {
        assert_eq!(super::bytes_of_hex("000110fF"), Some([0, 1, 0x10, 0xff]));
        for wrong in ["", "0", "000110f", "000110ff0", "000110fg", "+00110ff", "000110é"] {
            assert_eq!(super::bytes_of_hex::<4>(wrong), None, "{wrong}");
        }
    }
}
