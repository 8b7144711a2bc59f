//! Masking (RFC 6455 §5.3), at memory speed.

/// Masks or unmasks `bytes`, whose first byte is due to the first byte of `mask`.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let keys: [u8; 16] = std::array::from_fn(|position| mask[position % 4]);
    // Blocks of a constant size, without a dependency between them: the compiler makes each of
    // them one vector instruction. Words of four behind them keep short payloads quick.
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    for block in blocks {
        xor(block, &keys);
    }
    let (words, tail) = rest.as_chunks_mut::<4>();
    for word in words {
        xor(word, &mask);
    }
    xor(tail, &mask);
}

fn xor(bytes: &mut [u8], keys: &[u8]) {
    for (byte, key) in bytes.iter_mut().zip(keys) {
        *byte ^= key;
    }
}

/// The mask for the bytes behind the first `length` ones.
pub(super) fn rotated(mut mask: [u8; 4], length: usize) -> [u8; 4] {
    mask.rotate_left(length % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn every_byte_is_masked_by_the_key_byte_of_its_position() {
        for length in 0..100 {
            let mut bytes: Vec<u8> = (0..length).collect();
            apply(&mut bytes, MASK);
            for (position, byte) in bytes.iter().enumerate() {
                assert_eq!(*byte, position as u8 ^ MASK[position % 4], "{position} of {length}");
            }
        }
    }

    #[test]
    fn a_payload_unmasked_in_two_parts_is_unmasked_as_one() {
        let plain: Vec<u8> = (0..70).collect();
        for split in 0..=plain.len() {
            let mut bytes = plain.clone();
            apply(&mut bytes, MASK);
            let (head, tail) = bytes.split_at_mut(split);
            apply(head, MASK);
            apply(tail, rotated(MASK, split));
            assert_eq!(bytes, plain, "split at {split}");
        }
    }
}
