//! Which options cannot be.

use super::Builder;
use crate::base::limits::{HEADERS_MAX, JSON_DEPTH_MAX, SHARDS_MAX};
use crate::error::{Error, Result};
use crate::proto::parser::Form;

impl Builder {
    pub(super) fn check(&self) -> Result<()> {
        let limits = &self.options.limits;
        let checks = [
            (self.path.starts_with('/'), "path", "it must begin with a slash"),
            (!self.options.ping_interval.is_zero(), "ping_interval", "it must not be zero"),
            (!self.options.ping_timeout.is_zero(), "ping_timeout", "it must not be zero"),
            (!self.offer.transports.is_empty(), "transports", "there must be one"),
            (
                !self.offer.allow_eio3 || !self.has_namespaces || matches!(self.form, Form::Json),
                "allow_eio3",
                "clients of Socket.IO 2 speak the default form alone: it goes with no other parser",
            ),
            (limits.message_bytes > 0, "max_http_buffer_size", "it must not be zero"),
            (
                limits.receive_buffers.is_power_of_two(),
                "limits",
                "receive_buffers must be a power of two",
            ),
            (
                limits.receive_buffer_bytes >= 512,
                "limits",
                "receive_buffer_bytes must be 512 or more",
            ),
            (self.unix_socket_mode <= 0o777, "unix_socket_mode", "it must be from 0 to 0o777"),
            (limits.mailbox_commands > 0, "limits", "mailbox_commands must not be zero"),
            (limits.headers <= HEADERS_MAX, "limits", "headers must be 100 or fewer"),
            (limits.json_depth <= JSON_DEPTH_MAX, "limits", "json_depth must be 128 or less"),
        ];
        match checks.iter().find(|(holds, _, _)| !holds) {
            Some((_, option, why)) => Err(Error::Option(option, (*why).to_owned())),
            None => match self.shards {
                Some(shards) if shards == 0 || shards > SHARDS_MAX => {
                    Err(Error::Option("shards", format!("it must be from 1 to {SHARDS_MAX}")))
                }
                _ => Ok(()),
            },
        }
    }
}
