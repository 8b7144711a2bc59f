//! The options of compression.

use crate::error::{Error, Result};
use crate::proto::websocket::{DeflateOptions, WindowBits};

/// `httpCompression`: answers to polling requests are compressed with gzip or deflate, whatever the
/// client likes better, when it accepts one of them. On by default.
///
/// ```
/// use fanfare::{HttpCompression, Server};
///
/// let small = Server::builder().http_compression(HttpCompression::default().threshold(256));
/// let off = Server::builder().http_compression(None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpCompression {
    pub(crate) threshold_bytes: usize,
}

impl Default for HttpCompression {
    fn default() -> HttpCompression {
        HttpCompression { threshold_bytes: 1024 }
    }
}

impl HttpCompression {
    /// `threshold`: answers of fewer bytes are sent as they are. Default: 1024.
    pub fn threshold(mut self, bytes: usize) -> HttpCompression {
        self.threshold_bytes = bytes;
        self
    }
}

/// `perMessageDeflate`: WebSocket messages are compressed (RFC 7692), for clients that offer it.
/// Off by default, as in Socket.IO: it takes processor time for every message, both ways.
///
/// Unlike the reference, a server keeps no context from one message to the next, and tells its
/// clients to keep none either, unless it is asked to. So a client that compresses costs no more
/// memory than any other, and what many are sent is compressed once for all of them.
///
/// ```
/// use fanfare::{PerMessageDeflate, Server};
///
/// # fn main() -> fanfare::Result<()> {
/// let compression = PerMessageDeflate::default().threshold(512).level(1);
/// let io = Server::builder().per_message_deflate(compression).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    threshold_bytes: usize,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    level: u8,
    memory_level: u8,
}

impl Default for PerMessageDeflate {
    fn default() -> PerMessageDeflate {
        let DeflateOptions { threshold_bytes, level, memory_level, .. } = DeflateOptions::default();
        PerMessageDeflate {
            threshold_bytes,
            server_max_window_bits: None,
            client_max_window_bits: None,
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            level,
            memory_level,
        }
    }
}

impl PerMessageDeflate {
    /// `threshold`: messages of fewer bytes are sent as they are. Default: 1024. As in the
    /// reference, it does not hold for clients for which a context is kept.
    pub fn threshold(mut self, bytes: usize) -> PerMessageDeflate {
        self.threshold_bytes = bytes;
        self
    }

    /// `serverMaxWindowBits`: how far back the server looks for what it has sent before, as the
    /// logarithm of a number of bytes, from 8 to 15. Default: as far as the client can, mostly 15.
    pub fn server_max_window_bits(mut self, bits: u8) -> PerMessageDeflate {
        self.server_max_window_bits = Some(bits);
        self
    }

    /// `clientMaxWindowBits`: clients are told not to look back further than this, from 8 to 15;
    /// the offer of one that cannot be told is refused with 400. Default: they are told nothing. It
    /// saves this server no memory.
    pub fn client_max_window_bits(mut self, bits: u8) -> PerMessageDeflate {
        self.client_max_window_bits = Some(bits);
        self
    }

    /// `serverNoContextTakeover`: whether the server compresses each message by itself. Default:
    /// true, where the reference has false. Without it, messages to one client that are like
    /// earlier ones get shorter, small ones too; that takes up to 368 KiB for each client, within
    /// [`Limits::context_bytes`](crate::Limits::context_bytes), and begins anew behind each
    /// compressed broadcast, since that is the same for everybody. A client that asks for messages
    /// by themselves gets them all the same; the reference would refuse it if told `false`.
    pub fn server_no_context_takeover(mut self, each_by_itself: bool) -> PerMessageDeflate {
        self.server_no_context_takeover = each_by_itself;
        self
    }

    /// `clientNoContextTakeover`: whether clients are told to compress each message by itself.
    /// Default: true, where the reference has false. Without it, each client that compresses takes
    /// 48 KiB, within [`Limits::context_bytes`](crate::Limits::context_bytes).
    pub fn client_no_context_takeover(mut self, each_by_itself: bool) -> PerMessageDeflate {
        self.client_no_context_takeover = each_by_itself;
        self
    }

    /// `zlibDeflateOptions.level`: how hard the server tries, from 0 to 9. Default: 6.
    pub fn level(mut self, level: u8) -> PerMessageDeflate {
        self.level = level;
        self
    }

    /// `zlibDeflateOptions.memLevel`: how much memory a compressor may take beside its window, from
    /// 1 to 9. Default: 8, for 112 KiB.
    pub fn memory_level(mut self, level: u8) -> PerMessageDeflate {
        self.memory_level = level;
        self
    }

    pub(super) fn options(&self) -> Result<DeflateOptions> {
        let window = |bits: Option<u8>| match bits.map(WindowBits::new) {
            None => Ok(None),
            Some(Some(bits)) => Ok(Some(bits)),
            Some(None) => Err(refused("window bits must be from 8 to 15")),
        };
        if self.level > 9 {
            return Err(refused("level must be from 0 to 9"));
        }
        if !(1..=9).contains(&self.memory_level) {
            return Err(refused("memory_level must be from 1 to 9"));
        }
        Ok(DeflateOptions {
            threshold_bytes: self.threshold_bytes,
            server_max_window_bits: window(self.server_max_window_bits)?,
            client_max_window_bits: window(self.client_max_window_bits)?,
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            level: self.level,
            memory_level: self.memory_level,
        })
    }
}

fn refused(why: &str) -> Error {
    Error::Option("per_message_deflate", why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_reference_but_for_the_contexts() {
        let options = PerMessageDeflate::default().options().unwrap();
        let expected = DeflateOptions {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            ..DeflateOptions::default()
        };
        assert_eq!(options, expected);
        assert_eq!(options.threshold_bytes, 1024);
        assert_eq!(HttpCompression::default().threshold_bytes, 1024);
    }

    #[test]
    fn cve_2026_2229_windows_and_levels_that_do_not_exist_are_named() {
        let default = PerMessageDeflate::default;
        let wrong = [
            (default().server_max_window_bits(7), "window bits"),
            (default().server_max_window_bits(99), "window bits"),
            (default().client_max_window_bits(16), "window bits"),
            (default().level(10), "level"),
            (default().memory_level(0), "memory_level"),
            (default().memory_level(10), "memory_level"),
        ];
        for (options, why) in wrong {
            let error = options.options().unwrap_err().to_string();
            assert!(error.contains("per_message_deflate") && error.contains(why), "{error}");
        }
        let most = default().server_max_window_bits(15).client_max_window_bits(8).level(9);
        assert!(most.memory_level(9).options().is_ok());
    }
}
