//! From options to what a server is built with: they are checked, and an option that makes no sense
//! is named.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::ListenAddress;
use crate::base::limits::SHARDS_MAX;
use crate::error::{Error, Result};
use crate::proto::http::{Cookie, Cors, InvalidOption};
use crate::proto::parser::Form;
use crate::shard::shared::Settings;
#[cfg(feature = "tls")]
use crate::tls::Context;

use super::Builder;

impl Builder {
    pub(crate) fn settings(&self) -> Result<Settings> {
        self.check()?;
        let slash = if self.add_trailing_slash { "/" } else { "" };
        let path = format!("{}{slash}", self.path.trim_end_matches('/'));
        let invalid = |error: InvalidOption| Error::Option(error.option, error.reason);
        let cors = self.cors.as_ref().map(Cors::new).transpose().map_err(invalid)?;
        let cookie = self.cookie.as_ref().map(Cookie::new).transpose().map_err(invalid)?;
        Ok(Settings {
            options: self.options.clone(),
            path,
            cors: cors.flatten(),
            cookie,
            initial_packet: self.initial_packet.clone(),
            destroy_upgrade: self.destroy_upgrade.then_some(self.destroy_upgrade_timeout),
            offer: self.offer.clone(),
            allow_upgrades: self.allow_upgrades,
            keep_handshake: self.keep_handshake,
            per_message_deflate: self.per_message_deflate.map(|how| how.options()).transpose()?,
            trusted_proxies: self.proxies()?,
            proxy_protocol: self.proxy_protocol,
            send_queue_policy: self.send_queue_policy,
            http_compression: self.http_compression.map(|how| how.threshold_bytes),
            client: self.client()?,
            cleanup_empty_child_namespaces: self.cleanup_empty_child_namespaces,
            fallback: self.fallback.clone(),
            echo_outside: self.echo_outside,
            crowd_left: self.crowd_left.clone(),
            has_namespaces: self.has_namespaces,
            form: self.form.clone(),
            states: self.states.clone(),
            hand_over_at: self.hand_over_at.clone(),
            drain_timeout: self.drain_timeout,
            watchdog: self.watchdog,
            unix_socket_mode: self.unix_socket_mode,
            metrics: self.metrics.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref().map(Context::new).transpose()?.map(Arc::new),
        })
    }

    fn check(&self) -> Result<()> {
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
                limits.receive_buffers.is_power_of_two() && limits.receive_buffers > 1,
                "limits",
                "receive_buffers must be a power of two, and not one alone",
            ),
            (
                limits.receive_buffer_bytes >= 512,
                "limits",
                "receive_buffer_bytes must be 512 or more",
            ),
            (self.unix_socket_mode <= 0o777, "unix_socket_mode", "it must be from 0 to 0o777"),
            (self.watchdog != Some(Duration::ZERO), "watchdog", "it must not be zero"),
            (
                matches!(
                    self.metrics,
                    None | Some(ListenAddress::Tcp(_) | ListenAddress::Named(_))
                ),
                "metrics",
                "it is a TCP address, or a port",
            ),
            (limits.mailbox_commands > 0, "limits", "mailbox_commands must not be zero"),
            (
                limits.headers <= crate::base::limits::HEADERS_MAX,
                "limits",
                "headers must be 100 or fewer",
            ),
            (
                limits.json_depth <= crate::base::limits::JSON_DEPTH_MAX,
                "limits",
                "json_depth must be 128 or less",
            ),
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
