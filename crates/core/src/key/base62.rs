//! Base62 with the alphabet `0-9A-Za-z`, for numbers of a fixed size.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters that 256 bits need: 62^43 is just above 2^256.
pub(super) const CHARS_OF_256_BITS: usize = 43;
/// Characters that 32 bits need.
pub(super) const CHARS_OF_32_BITS: usize = 6;

/// Returns the digit for `value`, which is below 62.
fn digit(value: u32) -> u8 {
    let index = usize::try_from(value).unwrap_or(0);
    ALPHABET.get(index).copied().unwrap_or(b'0')
}

/// Digits that one division yields: 62^5 is just below 2^30, so a quotient of the limbs fits a limb.
const DIGITS_AT_ONCE: usize = 5;
const FIVE_DIGITS: u64 = 62_u64.pow(5);

/// Encodes a 256-bit number, most significant digit first.
pub(super) fn of_256_bits(bytes: &[u8; 32]) -> [u8; CHARS_OF_256_BITS] {
    let mut limbs = [0_u32; 8];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.chunks_exact(4)) {
        *limb = chunk.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte));
    }
    let mut text = [b'0'; CHARS_OF_256_BITS];
    for places in text.rchunks_mut(DIGITS_AT_ONCE) {
        write(places, next_digits(&mut limbs));
    }
    text
}

/// Divides the number in place by 62^5 and returns the remainder: its last five digits.
fn next_digits(limbs: &mut [u32; 8]) -> u32 {
    let mut remainder = 0_u64;
    for limb in limbs {
        let value = remainder << 32 | u64::from(*limb);
        *limb = u32::try_from(value / FIVE_DIGITS).unwrap_or(u32::MAX);
        remainder = value % FIVE_DIGITS;
    }
    u32::try_from(remainder).unwrap_or(0)
}

/// Fills all digits, most significant first.
fn write(places: &mut [u8], mut value: u32) {
    for place in places.iter_mut().rev() {
        *place = digit(value % 62);
        value /= 62;
    }
}

/// Encodes a 32-bit number, most significant digit first.
pub(super) fn of_32_bits(value: u32) -> [u8; CHARS_OF_32_BITS] {
    let mut text = [b'0'; CHARS_OF_32_BITS];
    write(&mut text, value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_the_largest_number_have_their_known_digits() {
        assert_eq!(&of_32_bits(0), b"000000");
        assert_eq!(&of_32_bits(u32::MAX), b"4gfFC3");
        assert_eq!(of_256_bits(&[0; 32]), [b'0'; 43]);
        // 2^256 - 1 in base 62, computed independently.
        assert_eq!(
            &of_256_bits(&[0xff; 32]),
            b"yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"
        );
    }
}
