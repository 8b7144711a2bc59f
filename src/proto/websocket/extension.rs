//! What is agreed on about permessage-deflate: RFC 6455 §9.1, RFC 7692 §5 and §7.1, protocol.md
//! §11.4.
//!
//! Names are bytes that are compared, and nothing is kept of what is not known. Each value of the
//! header is looked at once, from left to right.

use std::error::Error;
use std::fmt;
use std::mem;

use crate::proto::token::is_token_byte;

const NAME: &[u8] = b"permessage-deflate";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";

/// How far back a compressor looks, as the logarithm of a number of bytes: 8 to 15, for 256 bytes
/// to 32 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 32 KiB, which is what holds where nothing is said.
    pub const MAX: WindowBits = WindowBits(15);

    /// The window of that size, if there is one.
    pub const fn new(bits: u8) -> Option<WindowBits> {
        match bits {
            8..=15 => Some(WindowBits(bits)),
            _ => None,
        }
    }

    /// The logarithm.
    pub const fn value(self) -> u8 {
        self.0
    }

    /// RFC 7692 §7.1.2: a decimal number without leading zeros. The reference also takes what
    /// JavaScript takes for a number.
    fn read(mut digits: impl Iterator<Item = u8>) -> Option<WindowBits> {
        let number = [digits.next(), digits.next(), digits.next()];
        let bits = match number {
            [Some(digit @ b'8'..=b'9'), None, None] => digit - b'0',
            [Some(b'1'), Some(digit @ b'0'..=b'5'), None] => 10 + (digit - b'0'),
            _ => return None,
        };
        WindowBits::new(bits)
    }
}

/// What a compressor keeps from one message to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The last bytes, up to the size of the window: messages that are alike become shorter.
    Kept,
    /// Nothing.
    Dropped,
}

/// What a server wants of permessage-deflate. The fields have the names and defaults that
/// `perMessageDeflate` has in the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateOptions {
    /// Messages of fewer bytes are not compressed for clients with which
    /// `server_no_context_takeover` was agreed on: 1024. For others all are, since the next one may
    /// be like this one (protocol.md §11.4).
    pub threshold_bytes: usize,
    /// The server's window is not larger than this: as large as the client wants it.
    pub server_max_window_bits: Option<WindowBits>,
    /// Clients are told not to look back further than this: they are told nothing. Those that can
    /// not be told are refused. It saves this server no memory.
    pub client_max_window_bits: Option<WindowBits>,
    /// The server compresses each message by itself, even if the client does not ask for it: off.
    pub server_no_context_takeover: bool,
    /// Clients are told to compress each message by itself: off. It saves about 48 KiB for each
    /// client that compresses.
    pub client_no_context_takeover: bool,
    /// How hard the server tries, 0 to 9, or 9 if it is more: 6.
    pub level: u8,
    /// How much memory a compressor has beside its window and its table of 128 KiB: 1 for 896 bytes
    /// to 9 for 224 KiB, each twice the one before, or the nearest of them: 8.
    pub memory_level: u8,
}

impl Default for DeflateOptions {
    fn default() -> DeflateOptions {
        DeflateOptions {
            threshold_bytes: 1024,
            server_max_window_bits: None,
            client_max_window_bits: None,
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            level: 6,
            memory_level: 8,
        }
    }
}

/// What both sides do. It is made by [`negotiate`], and the client is told by
/// [`Agreement::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    server_max_window_bits: Option<WindowBits>,
    client_max_window_bits: Option<WindowBits>,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
}

impl Agreement {
    /// The largest window that the server may use.
    pub fn server_window_bits(&self) -> WindowBits {
        self.server_max_window_bits.unwrap_or(WindowBits::MAX)
    }

    /// What the server may keep from one message to the next.
    pub fn server_context(&self) -> Context {
        if self.server_no_context_takeover { Context::Dropped } else { Context::Kept }
    }

    /// What the client keeps from one message to the next.
    pub fn client_context(&self) -> Context {
        if self.client_no_context_takeover { Context::Dropped } else { Context::Kept }
    }

    /// The same, but neither side keeps anything: a server may ask for that whatever the client
    /// has offered (RFC 7692 §7.1.1).
    pub fn without_contexts(self) -> Agreement {
        Agreement { server_no_context_takeover: true, client_no_context_takeover: true, ..self }
    }

    /// Appends the value of `Sec-WebSocket-Extensions` in the answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME);
        let flags = [
            (SERVER_NO_CONTEXT_TAKEOVER, self.server_no_context_takeover),
            (CLIENT_NO_CONTEXT_TAKEOVER, self.client_no_context_takeover),
        ];
        for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(name.as_bytes());
        }
        let windows = [
            (SERVER_MAX_WINDOW_BITS, self.server_max_window_bits),
            (CLIENT_MAX_WINDOW_BITS, self.client_max_window_bits),
        ];
        for (name, bits) in windows {
            if let Some(bits) = bits {
                out.extend_from_slice(format!("; {name}={}", bits.value()).as_bytes());
            }
        }
    }
}

/// Why the client's offer is refused, with 400 as by the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferFault {
    /// The header is not a list of extensions.
    Syntax,
    /// permessage-deflate is offered with a parameter that is unknown, repeated, or has a wrong
    /// value.
    Parameter,
    /// permessage-deflate is offered, but never so that the server's options allow it.
    Unacceptable,
}

impl fmt::Display for OfferFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            OfferFault::Syntax => "the client's extensions are not a list of such",
            OfferFault::Parameter => "the client offered a compression that does not exist",
            OfferFault::Unacceptable => "the client offered no compression that is acceptable",
        })
    }
}

impl Error for OfferFault {}

/// What is agreed on with a client that sent these values of `Sec-WebSocket-Extensions`: its first
/// offer of permessage-deflate that is acceptable, or nothing when it makes no such offer.
///
/// The server's window is the smaller one of what the client and the options want. The client's
/// is only spoken of if the client did, with a size or where the options have one.
///
/// # Errors
/// The values are no list of extensions, or something is wrong with one of the offers, or none of
/// them is acceptable. Stricter than the reference where a number is not a plain one; and a window
/// that is smaller than that of the options is no fault.
pub fn negotiate<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    options: &DeflateOptions,
) -> Result<Option<Agreement>, OfferFault> {
    let mut is_offered = false;
    let mut agreement = None;
    for value in values {
        let mut reader = Reader { rest: value };
        loop {
            if let Some(offer) = reader.extension()? {
                is_offered = true;
                agreement = agreement.or_else(|| offer.accept(options));
            }
            if reader.rest.is_empty() {
                break;
            }
            reader.expect(b',')?;
        }
    }
    if is_offered && agreement.is_none() {
        return Err(OfferFault::Unacceptable);
    }
    Ok(agreement)
}

/// One offer of permessage-deflate.
#[derive(Debug, Default)]
struct Offer {
    server_max_window_bits: Option<WindowBits>,
    client_max_window_bits: Option<ClientWindow>,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
}

/// What a client says about its own window.
#[derive(Clone, Copy, Debug)]
enum ClientWindow {
    /// It can be told a size.
    Any,
    /// It can be told a size, and will not take a larger one than this.
    AtMost(WindowBits),
}

impl Offer {
    fn set(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), OfferFault> {
        let name = std::str::from_utf8(name).map_err(|_| OfferFault::Parameter)?;
        // A token has no backslash, so each one here is part of an escape.
        let digits = value.map(|value| value.iter().copied().filter(|byte| *byte != b'\\'));
        let is_repeated = match (name, digits) {
            (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                mem::replace(&mut self.server_no_context_takeover, true)
            }
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                mem::replace(&mut self.client_no_context_takeover, true)
            }
            (SERVER_MAX_WINDOW_BITS, Some(digits)) => {
                let bits = WindowBits::read(digits).ok_or(OfferFault::Parameter)?;
                self.server_max_window_bits.replace(bits).is_some()
            }
            (CLIENT_MAX_WINDOW_BITS, Some(digits)) => {
                let bits = WindowBits::read(digits).ok_or(OfferFault::Parameter)?;
                self.client_max_window_bits.replace(ClientWindow::AtMost(bits)).is_some()
            }
            (CLIENT_MAX_WINDOW_BITS, None) => {
                self.client_max_window_bits.replace(ClientWindow::Any).is_some()
            }
            _ => return Err(OfferFault::Parameter),
        };
        if is_repeated { Err(OfferFault::Parameter) } else { Ok(()) }
    }

    fn accept(&self, options: &DeflateOptions) -> Option<Agreement> {
        let wanted = options.client_max_window_bits;
        let client_max_window_bits = match (wanted, self.client_max_window_bits) {
            // RFC 7692 §7.1.2.2: such a client is not told about its window.
            (Some(bits), None) if bits < WindowBits::MAX => return None,
            (_, None) | (None, Some(ClientWindow::Any)) => None,
            (Some(bits), Some(ClientWindow::Any)) => Some(bits),
            (None, Some(ClientWindow::AtMost(most))) => Some(most),
            (Some(bits), Some(ClientWindow::AtMost(most))) => Some(bits.min(most)),
        };
        let sizes = [options.server_max_window_bits, self.server_max_window_bits];
        Some(Agreement {
            server_max_window_bits: sizes.into_iter().flatten().min(),
            client_max_window_bits,
            server_no_context_takeover: self.server_no_context_takeover
                || options.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover
                || options.client_no_context_takeover,
        })
    }
}

/// What is left of a value of the header.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `token *( ";" parameter )`, with the blanks around it; what is offered if the extension is
    /// the one that is known.
    fn extension(&mut self) -> Result<Option<Offer>, OfferFault> {
        self.skip_blanks();
        let mut offer = (self.token()? == NAME).then(Offer::default);
        self.skip_blanks();
        while self.take(b';') {
            self.skip_blanks();
            let (name, value) = self.parameter()?;
            if let Some(offer) = &mut offer {
                offer.set(name, value)?;
            }
            self.skip_blanks();
        }
        Ok(offer)
    }

    /// `token [ "=" ( token / quoted-string ) ]`; of a quoted one what stands between the quotes.
    fn parameter(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), OfferFault> {
        let name = self.token()?;
        if !self.take(b'=') {
            return Ok((name, None));
        }
        let value = if self.take(b'"') { self.quoted()? } else { self.token()? };
        Ok((name, Some(value)))
    }

    fn token(&mut self) -> Result<&'a [u8], OfferFault> {
        let end = self.rest.iter().position(|byte| !is_token_byte(*byte));
        self.cut(end.unwrap_or(self.rest.len()))
    }

    /// The rest of a quoted string, which must be a token when its escapes are undone (RFC 6455
    /// §9.1).
    fn quoted(&mut self) -> Result<&'a [u8], OfferFault> {
        let mut end = 0;
        loop {
            end += match self.rest[end..] {
                [b'\\', byte, ..] if is_token_byte(byte) => 2,
                [byte, ..] if is_token_byte(byte) => 1,
                _ => break,
            };
        }
        let text = self.cut(end)?;
        self.expect(b'"')?;
        Ok(text)
    }

    /// Takes so many bytes, one at least.
    fn cut(&mut self, length: usize) -> Result<&'a [u8], OfferFault> {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        if taken.is_empty() { Err(OfferFault::Syntax) } else { Ok(taken) }
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, byte: u8) -> Result<(), OfferFault> {
        if self.take(byte) { Ok(()) } else { Err(OfferFault::Syntax) }
    }
}

/// The door for fuzzing: each line is a value of the header.
///
/// # Panics
/// When the answer is no line of a header, or when the same is not agreed on with a client that
/// offers what was answered.
#[doc(hidden)]
pub fn exercise_extensions(bytes: &[u8]) {
    let eager = DeflateOptions {
        server_max_window_bits: WindowBits::new(10),
        client_max_window_bits: WindowBits::new(9),
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..DeflateOptions::default()
    };
    for options in [DeflateOptions::default(), eager] {
        let values = bytes.split(|byte| *byte == b'\n');
        let Ok(Some(agreement)) = negotiate(values, &options) else { continue };
        let mut answer = Vec::new();
        agreement.write(&mut answer);
        assert!(answer.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
        assert_eq!(negotiate([&answer[..]].into_iter(), &options), Ok(Some(agreement)));
    }
}

#[cfg(test)]
mod tests;
