//! The command line.

use std::net::SocketAddrV4;

use lexopt::Parser;
use lexopt::prelude::*;

use crate::codec::Protocol;
use crate::failure::Failure;
use crate::plan::{ModeName, Plan, Transport};

pub const USAGE: &str = "swarm MODE --target 127.0.0.1:PORT [options]

MODE: idle fanout rooms echo churn polling storm
  --protocol socketio|websocket   what the server speaks (socketio)
  --transport websocket|polling   how clients connect, for socketio (websocket)
  --clients N                     connections (100)
  --payload BYTES                 of a message, at least 48 (64)
  --window N                      messages under way; for echo, per client (1)
  --rate PER_S                    messages a second in all, whatever comes back
  --seconds S                     how long to measure (3)
  --warmup S                      how long to do so before without measuring (0.5)
  --settle S                      idle: time before the memory of the server is read (1)
  --drain S                       how long to wait at the end for what is missing (5)
  --room-size N                   members of a room (10)
  --connect-rate PER_S            how fast to connect (5000)
  --handshakes N                  how many connect at the same time at most (128)
  --server-pid PID                the server's process, to read its CPU and memory
  --cpu N                         the processor to run on
  --processes N                   how many processes to run (1)
  --source-addresses N            how many loopback addresses to connect from (as needed)
  --json FILE|-                   append the result as a line of JSON
  --sleep                         wait in the kernel instead of asking it all the time";

/// What is to be done; nothing when only the usage is wanted.
pub fn read(parser: Parser) -> Result<Option<Plan>, Failure> {
    let plan = match parse(parser) {
        Ok(plan) => plan,
        Err(error) => return Err(Failure::Usage(error.to_string())),
    };
    plan.as_ref().map_or(Ok(()), Plan::check)?;
    Ok(plan)
}

fn parse(mut parser: Parser) -> Result<Option<Plan>, lexopt::Error> {
    let (mut mode, mut target) = (None, None);
    // The mode may stand anywhere, so that the plan is made with any and gets its own at the end.
    let any = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    let mut plan = Plan::new(ModeName::Idle, any);
    while let Some(argument) = parser.next()? {
        let name = match argument {
            Value(value) if mode.is_none() => {
                let known = value.to_str().and_then(ModeName::parse);
                mode = Some(known.ok_or_else(|| format!("there is no mode {value:?}"))?);
                continue;
            }
            Long(name) => name.to_owned(),
            other => return Err(other.unexpected()),
        };
        match &*name {
            "help" => return Ok(None),
            "target" => target = Some(parser.value()?.parse::<SocketAddrV4>()?),
            _ => option(&name, &mut parser, &mut plan)?,
        }
    }
    plan.mode = mode.ok_or("which MODE?")?;
    plan.target = target.ok_or("--target: which server?")?;
    if plan.mode == ModeName::Polling {
        plan.transport = Transport::Polling;
    }
    Ok(Some(plan))
}

fn option(name: &str, parser: &mut Parser, plan: &mut Plan) -> Result<(), lexopt::Error> {
    match name {
        "protocol" => {
            plan.protocol = one_of(
                parser,
                &[("socketio", Protocol::SocketIo), ("websocket", Protocol::Plain)],
            )?;
        }
        "transport" => {
            plan.transport = one_of(
                parser,
                &[("websocket", Transport::WebSocket), ("polling", Transport::Polling)],
            )?;
        }
        "clients" => plan.clients = parser.value()?.parse()?,
        "payload" => plan.payload = parser.value()?.parse()?,
        "window" => plan.window = parser.value()?.parse()?,
        "rate" => plan.rate = Some(parser.value()?.parse()?),
        "seconds" => plan.seconds = parser.value()?.parse()?,
        "warmup" => plan.warmup = parser.value()?.parse()?,
        "settle" => plan.settle = parser.value()?.parse()?,
        "drain" => plan.drain = parser.value()?.parse()?,
        "room-size" => plan.room_size = parser.value()?.parse()?,
        "connect-rate" => plan.connect_rate = parser.value()?.parse()?,
        "handshakes" => plan.handshakes = parser.value()?.parse()?,
        "server-pid" => plan.server_pid = Some(parser.value()?.parse()?),
        "cpu" => plan.cpu = Some(parser.value()?.parse()?),
        "processes" => plan.processes = parser.value()?.parse()?,
        "source-addresses" => plan.source_addresses = Some(parser.value()?.parse()?),
        "json" => plan.json = Some(parser.value()?.string()?),
        "sleep" => plan.sleeps = true,
        _ => return Err(Long(name).unexpected()),
    }
    Ok(())
}

fn one_of<T: Copy>(parser: &mut Parser, known: &[(&str, T)]) -> Result<T, lexopt::Error> {
    let value = parser.value()?.string()?;
    let found = known.iter().find(|(name, _)| *name == value);
    Ok(found.ok_or_else(|| format!("{value:?} is not known here"))?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Option<Plan>, Failure> {
        read(Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn a_mode_and_a_target_are_enough() {
        let plan = plan("fanout --target 127.0.0.1:4000").unwrap().unwrap();
        assert_eq!((plan.mode, plan.target.port()), (ModeName::Fanout, 4000));
        assert_eq!((plan.clients, plan.payload, plan.window), (100, 64, 1));
    }

    #[test]
    fn options_are_read_wherever_they_stand() {
        let line = "--clients 7 rooms --target 127.0.0.1:1 --room-size 3 --rate 2.5 --json - \
                    --protocol websocket --sleep --seconds 0.1 --server-pid 17";
        let plan = plan(line).unwrap().unwrap();
        assert_eq!((plan.clients, plan.room_size, plan.rate), (7, 3, Some(2.5)));
        assert_eq!((plan.protocol, plan.sleeps), (Protocol::Plain, true));
        assert_eq!((plan.json.as_deref(), plan.server_pid), (Some("-"), Some(17)));
    }

    #[test]
    fn the_mode_polling_polls() {
        let plan = plan("polling --target 127.0.0.1:1").unwrap().unwrap();
        assert_eq!(plan.transport, Transport::Polling);
    }

    #[test]
    fn what_is_not_known_is_wrong_usage() {
        for line in [
            "",
            "fanout",
            "--target 127.0.0.1:1",
            "dance --target 127.0.0.1:1",
            "fanout idle --target 127.0.0.1:1",
            "fanout --target 127.0.0.1",
            "fanout --target localhost:1",
            "fanout --target 10.0.0.1:1",
            "fanout --target 127.0.0.1:1 --client 3",
            "fanout --target 127.0.0.1:1 --clients x",
            "fanout --target 127.0.0.1:1 --protocol http",
        ] {
            assert_eq!(plan(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn usage_names_every_option() {
        assert!(plan("--help").unwrap().is_none());
        for option in USAGE.split_whitespace().filter(|word| word.starts_with("--")) {
            let name = option.trim_start_matches('-');
            let mut parser = Parser::from_args(["x"]);
            let mut unknown =
                Plan::new(ModeName::Idle, SocketAddrV4::new([127, 0, 0, 1].into(), 1));
            let is_known = name == "target"
                || !matches!(
                    super::option(name, &mut parser, &mut unknown),
                    Err(lexopt::Error::UnexpectedOption(_))
                );
            assert!(is_known, "{name}");
        }
    }
}
