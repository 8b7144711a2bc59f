//! Tokens, of which HTTP and the WebSocket handshake make their names (RFC 9110 5.6.2).

/// Whether `text` is a token: not empty, and of the characters of one only.
pub(super) const fn is_token(text: &[u8]) -> bool {
    let mut position = 0;
    while position < text.len() {
        if !is_token_byte(text[position]) {
            return false;
        }
        position += 1;
    }
    !text.is_empty()
}

/// Whether a token may hold this byte.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    let mark = matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    );
    mark || byte.is_ascii_alphanumeric()
}
