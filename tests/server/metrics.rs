//! Those who watch a server: what they are told, that it is so, and that they are told it whatever
//! the server and its clients do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fanfare::{Ack, Builder, DisconnectReason, Raw, Running, Server, Socket};

use crate::raw::{Client, DEADLINE, Response, WEBSOCKET_HEADERS, post, request, text};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server that somebody watches.
struct Watched {
    io: Server,
    running: Option<Running>,
    clients_at: SocketAddr,
    metrics_at: SocketAddr,
}

fn options(shards: usize) -> Builder {
    let options = Server::builder().shards(shards).pin_shards(false).serve_client(false);
    options.metrics("0").limits(|limits| limits.farewell_timeout = Duration::from_millis(20))
}

impl Watched {
    fn start(options: Builder) -> Watched {
        Watched::prepared(options, |_| {})
    }

    fn prepared(options: Builder, prepare: impl FnOnce(&Server)) -> Watched {
        let io = options.build().unwrap();
        io.of("/").on("all", async |socket: Socket, args: Raw| {
            socket.nsp().emit("told", args);
        });
        prepare(&io);
        let running = io.spawn("127.0.0.1:0").unwrap();
        let (clients_at, metrics_at) = (running.address(), running.metrics_address());
        let (clients_at, metrics_at) = (clients_at.unwrap(), metrics_at.unwrap());
        Watched { io, running: Some(running), clients_at, metrics_at }
    }

    /// A client of `/` over WebSocket.
    fn join(&self) -> Client {
        let mut client = Client::connect(self.clients_at);
        let opened = client.ask(request(&format!("GET {WEBSOCKET}"), WEBSOCKET_HEADERS));
        assert_eq!(opened.status, 101);
        assert!(client.text().starts_with('0'));
        client.say("40");
        assert!(client.text().starts_with("40{"));
        client
    }

    fn watcher(&self) -> Client {
        Client::connect(self.metrics_at)
    }

    fn get(&self, path: &str) -> Response {
        let mut watcher = self.watcher();
        let response = watcher.get(path);
        watcher.expect_end();
        response
    }

    /// The status of a path, and what is said.
    fn health(&self, path: &str) -> (u16, String) {
        let response = self.get(path);
        (response.status, response.text().to_owned())
    }

    fn numbers(&self) -> Numbers {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200);
        let lines = response.text().lines().filter(|line| !line.starts_with('#'));
        let parse = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Numbers(lines.map(parse).collect())
    }

    /// Waits until something can be told of the numbers, which are a second old at most.
    #[track_caller]
    fn await_numbers(&self, is_so: impl Fn(&Numbers) -> bool) -> Numbers {
        await_some(|| {
            let numbers = self.numbers();
            is_so(&numbers).then_some(numbers)
        })
    }

    /// Waits until a number, summed over the shards, has a value.
    #[track_caller]
    fn await_sum(&self, name: &str, labels: &str, value: f64) -> Numbers {
        self.await_numbers(|numbers| numbers.sum(name, labels) == value)
    }
}

#[track_caller]
fn await_some<T>(look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "it is not so after {DEADLINE:?}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// The values of all series.
#[derive(Debug)]
struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    /// The sum of the series of a metric that have these labels.
    fn sum(&self, name: &str, labels: &str) -> f64 {
        let of_metric = |series: &str| series.split('{').next() == Some(name);
        let found =
            self.0.iter().filter(|(series, _)| of_metric(series) && series.contains(labels));
        found.map(|(_, value)| value).sum()
    }
}

#[test]
fn the_numbers_are_those_of_the_clients_and_nothing_of_them_is_left() {
    for shards in [1, 2] {
        let server = Watched::start(options(shards));
        assert_eq!(server.numbers().sum("fanfare_clients", ""), 0.0);
        let mut clients = [server.join(), server.join()];
        let mut polling = Client::connect(server.clients_at);
        let sid = polling.get(POLLING).text().split('"').nth(3).unwrap().to_owned();
        let session = format!("{POLLING}&sid={sid}");
        assert_eq!(polling.post(&session, "40").status, 200);
        assert_eq!(polling.get(&session).status, 200);
        server.await_sum("fanfare_clients", "transport=\"websocket\"", 2.0);
        let there = server.await_sum("fanfare_sockets", "", 3.0);
        assert_eq!(there.sum("fanfare_shard_up", ""), shards as f64);
        assert_eq!(there.sum("fanfare_clients", "transport=\"polling\""), 1.0);
        assert_eq!(there.sum("fanfare_namespaces", ""), shards as f64);
        assert_eq!(there.sum("fanfare_sessions_opened_total", ""), 3.0);
        clients[0].say(r#"42["all",1]"#);
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), r#"42["told",1]"#));
        assert_eq!(polling.get(&session).text(), r#"42["told",1]"#);
        let told = server.await_sum("fanfare_events_received_total", "", 1.0);
        assert_eq!(told.sum("fanfare_broadcasts_total", ""), shards as f64);
        assert!(told.sum("fanfare_broadcast_seconds_count", "") >= 1.0);
        assert!(told.sum("fanfare_turn_seconds_count", "") > 5.0);
        // CONNECT three times, and an event.
        assert_eq!(told.sum("fanfare_packets_received_total", ""), 4.0);
        assert_eq!(told.sum("fanfare_queued_bytes", ""), 0.0);
        let [first, mut second] = clients;
        second.say("41");
        drop(first);
        server.await_sum("fanfare_disconnects_total", "", 2.0);
        drop(second);
        assert_eq!(polling.post(&session, "1").status, 200);
        drop(polling);
        server.await_sum("fanfare_connections", "", 0.0);
        let gone = server.await_sum("fanfare_sessions_closed_total", "", 3.0);
        let left = "reason=\"client namespace disconnect\",closer=\"peer\",limit=\"\"";
        assert_eq!(gone.sum("fanfare_disconnects_total", left), 1.0);
        assert_eq!(gone.sum("fanfare_disconnects_total", "reason=\"transport close\""), 2.0);
        for name in ["clients", "sockets", "rooms", "tasks", "queued_bytes", "driver_connections"] {
            server.await_sum(&format!("fanfare_{name}"), "", 0.0);
        }
    }
}

#[test]
fn bytes_are_those_that_clients_send_and_get() {
    for shards in [1, 2] {
        let server = Watched::start(options(shards));
        let mut client = Client::connect(server.clients_at);
        let asked = request("GET /nothing", "");
        let answer = client.ask(&asked);
        assert_eq!(answer.status, 404);
        let sent = (answer.head.len() + answer.body.len()) as f64;
        let before = server.await_sum("fanfare_sent_bytes_total", "", sent);
        assert_eq!(before.sum("fanfare_received_bytes_total", ""), asked.len() as f64);
        drop(client);
        let mut clients: Vec<Client> = (0..10).map(|_| server.join()).collect();
        server.await_sum("fanfare_sockets", "", 10.0);
        let before = server.numbers();
        let event = text(r#"42["all",1]"#);
        clients[0].send(&event);
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), r#"42["told",1]"#));
        let frame = 2 + r#"42["told",1]"#.len();
        let [sent, received] = ["fanfare_sent_bytes_total", "fanfare_received_bytes_total"];
        let sent_before = before.sum(sent, "");
        let after = server.await_sum(sent, "", sent_before + (10 * frame) as f64);
        assert_eq!(after.sum(received, "") - before.sum(received, ""), event.len() as f64);
    }
}

#[test]
fn refusals_and_limits_are_counted_by_what_the_program_calls_them() {
    let server = Watched::start(options(1).limits(|limits| limits.sessions = 1));
    let mut client = server.join();
    let refused = |target: &str| Client::connect(server.clients_at).get(target).status;
    assert_eq!(refused(POLLING), 503);
    assert_eq!(refused(&format!("{POLLING}&sid=nobody")), 400);
    let unknown = "reason=\"Session ID unknown\"";
    let numbers = server.await_sum("fanfare_requests_refused_total", unknown, 1.0);
    let full = "reason=\"There are too many clients\"";
    assert_eq!(numbers.sum("fanfare_requests_refused_total", full), 1.0);
    assert_eq!(numbers.sum("fanfare_limit_hits_total", "limit=\"sessions\""), 1.0);
    client.say("no packet");
    server.await_sum("fanfare_sessions_closed_total", "reason=\"parse error\"", 1.0);
}

#[test]
fn m71_no_word_of_a_client_is_in_a_label() {
    let server = Watched::prepared(options(1), |io| {
        io.of_pattern("evil").unwrap().on_connect(async |socket: Socket| {
            socket.join("evil room");
        });
    });
    let evil = "evil\"} 1\\nevil_total";
    let mut client = server.join();
    client.say(&format!("40/{evil},"));
    assert!(client.text().starts_with("40/evil"));
    client.say(r#"42["evil\"} 1\nevil_total",1]"#);
    let target = "/socket.io/?EIO=4&transport=evil";
    let headers = "Origin: http://evil\r\nUser-Agent: evil\r\n";
    let refused =
        Client::connect(server.clients_at).ask(request(&format!("GET {target}"), headers));
    assert_eq!(refused.status, 400);
    server.await_sum("fanfare_requests_refused_total", "", 1.0);
    server.await_sum("fanfare_rooms", "", 1.0);
    client.say("no packet");
    server.await_sum("fanfare_disconnects_total", "", 2.0);
    let text = server.get("/metrics").text().to_owned();
    assert!(!text.contains("evil"), "{text}");
}

#[test]
fn m72_the_public_port_knows_nothing_of_it_and_the_other_serves_no_clients() {
    let server = Watched::start(options(2));
    assert!(server.metrics_at.ip().is_loopback());
    for path in ["/metrics", "/live", "/ready"] {
        assert_eq!(Client::connect(server.clients_at).get(path).status, 404, "{path}");
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let unknown = server.get(POLLING);
    assert_eq!((unknown.status, unknown.text()), (404, "/metrics\n/live\n/ready\n"));
    let unwatched = Server::builder().shards(1).pin_shards(false).serve_client(false);
    let running = unwatched.build().unwrap().spawn("127.0.0.1:0").unwrap();
    assert_eq!(running.metrics_address(), None);
}

#[test]
fn m72_a_watcher_may_ask_for_little_and_takes_nobody_long() {
    let server = Watched::start(options(1));
    let ask = |bytes: &[u8]| server.watcher().ask(bytes);
    let of_type = |response: &Response| response.header("content-type").unwrap().to_owned();
    assert_eq!(of_type(&server.get("/metrics")), "text/plain; version=0.0.4; charset=utf-8");
    let posted = ask(&post("/metrics", b"x"));
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(ask(b"\x16\x03\x01garbage").status, 400);
    assert_eq!(
        ask(request("GET /metrics", &format!("X: {}\r\n", "x".repeat(9_000))).as_bytes()).status,
        431
    );
    assert_eq!(ask(request(&format!("GET /{}", "x".repeat(2_000)), "").as_bytes()).status, 414);
    let mut head = server.watcher();
    head.send(request("HEAD /metrics?a=b", ""));
    let answer = head.head_response();
    assert!(answer.status == 200 && answer.header("content-length").unwrap().len() > 3);
    head.expect_end();
    // One byte at a time is fast enough.
    let mut slow = server.watcher();
    slow.trickle(request("GET /ready", ""));
    assert_eq!(slow.response().status, 200);
}

#[test]
fn m72_watchers_that_say_nothing_are_given_up_and_the_next_one_is_answered() {
    let server = Watched::start(options(1));
    let begun = Instant::now();
    let mut silent: Vec<Client> = (0..8).map(|_| server.watcher()).collect();
    silent[0].send("GET /live HT");
    assert_eq!(server.health("/live").0, 200);
    // There are as many as are served at once.
    assert!(begun.elapsed() >= Duration::from_secs(1));
    silent.iter_mut().for_each(Client::expect_end);
}

#[test]
fn twenty_watchers_at_once_are_all_answered() {
    let server = Watched::start(options(2));
    let mut watchers: Vec<Client> = (0..20).map(|_| server.watcher()).collect();
    watchers.iter_mut().for_each(|watcher| watcher.send(request("GET /metrics", "")));
    for watcher in &mut watchers {
        assert!(watcher.response().text().contains("fanfare_shard_up{shard=\"1\"} 1\n"));
        watcher.finish();
    }
}

/// Has a handler of `/` block its shard, until something is sent.
fn may_block(io: &Server) -> Sender<()> {
    let (release, released): (Sender<()>, Receiver<()>) = channel();
    let released = Arc::new(Mutex::new(released));
    io.of("/").on("block", async move || {
        released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
    });
    release
}

#[test]
fn a_shard_that_a_handler_blocks_is_told_of_and_the_others_are_as_well() {
    let io = options(2).watchdog(Duration::from_millis(200));
    let mut release = None;
    let server = Watched::prepared(io, |io| release = Some(may_block(io)));
    assert_eq!(server.health("/live"), (200, "ok\n".to_owned()));
    let mut client = server.join();
    server.await_sum("fanfare_sockets", "", 1.0);
    client.say(r#"42["block"]"#);
    let numbers = server.await_sum("fanfare_shard_up", "", 1.0);
    assert_eq!(numbers.sum("fanfare_sockets", ""), 0.0, "its numbers are left out");
    assert_eq!(numbers.sum("fanfare_namespaces", ""), 1.0);
    let (status, why) = server.health("/live");
    assert!(status == 503 && why.starts_with("a handler has blocked shard "), "{status} {why}");
    assert_eq!(server.health("/ready").0, 200);
    release.unwrap().send(()).unwrap();
    let numbers = server.await_sum("fanfare_shard_up", "", 2.0);
    assert_eq!(server.health("/live").0, 200);
    assert_eq!(numbers.sum("fanfare_sockets", ""), 1.0);
    // A machine that is busy with other things adds some.
    assert!(numbers.sum("fanfare_turns_blocked_total", "") >= 1.0);
    assert!(numbers.sum("fanfare_stalls_total", "") >= 1.0);
}

#[test]
fn a_server_that_drains_is_live_and_not_ready() {
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let server = Watched::prepared(options(2), |io| {
        io.of("/").on("wait", async move |ack: Ack| {
            while released.lock().unwrap().try_recv().is_err() {
                fanfare::time::sleep(Duration::from_millis(5)).await;
            }
            ack.send(());
        });
    });
    let mut client = server.join();
    client.say(r#"421["wait"]"#);
    server.await_sum("fanfare_tasks", "", 1.0);
    assert_eq!(server.health("/ready"), (200, "ok\n".to_owned()));
    assert_eq!(server.numbers().sum("fanfare_ready", ""), 1.0);
    server.io.drain();
    assert_eq!(server.health("/ready"), (503, "the server is draining\n".to_owned()));
    assert_eq!(server.health("/live").0, 200);
    server.await_sum("fanfare_ready", "", 0.0);
    release.send(()).unwrap();
    assert_eq!(client.text(), "431[]");
}

#[test]
fn a_server_whose_shard_has_died_is_neither_until_it_has_ended() {
    let mut server = Watched::start(options(2));
    fanfare::internal::break_shard(&server.io, 1);
    let dead = (503, "a shard has died\n".to_owned());
    await_some(|| (server.health("/live") == dead).then_some(()));
    assert_eq!(server.health("/ready"), dead);
    server.running.take().unwrap().join().unwrap_err();
    assert!(std::net::TcpStream::connect(server.metrics_at).is_err());
}

#[test]
fn a_server_that_is_short_of_memory_is_not_ready() {
    let server = Watched::start(options(1).limits(|limits| limits.memory_bytes = 1));
    await_some(|| (server.health("/ready").0 == 503).then_some(()));
    assert_eq!(server.health("/ready").1, "memory runs short\n");
    assert_eq!(server.health("/live").0, 200);
    assert_eq!(server.numbers().sum("fanfare_process_memory_limit_bytes", ""), 1.0);
}

#[test]
fn m64_the_next_process_takes_the_address_over() {
    let path = std::env::temp_dir().join(format!("fanfare-{}-watched", std::process::id()));
    let first = Watched::start(options(1).hand_over_at(&path));
    let (reason, reasons) = channel();
    first.io.of("/").on_disconnect(async move |gone: DisconnectReason| {
        reason.send(gone).unwrap();
    });
    let client = first.join();
    let next = options(2).hand_over_at(&path).metrics(first.metrics_at).build().unwrap();
    let running = next.spawn(first.clients_at).unwrap();
    assert_eq!(running.metrics_address(), Some(first.metrics_at));
    assert_eq!(first.numbers().sum("fanfare_shard_up", ""), 2.0, "it is the other's");
    assert_eq!(reasons.recv_timeout(DEADLINE).unwrap(), DisconnectReason::ServerShuttingDown);
    drop(client);
    // Nobody else may have it.
    let third = options(1).metrics(first.metrics_at).build().unwrap();
    let error = third.spawn("127.0.0.1:0").unwrap_err();
    assert!(matches!(error, fanfare::Error::Listen(..)), "{error}");
}

#[test]
fn an_address_that_is_none_of_tcp_is_refused() {
    for address in ["unix:/tmp/metrics", "systemd"] {
        let error = Server::builder().metrics(address).build().map(drop).unwrap_err();
        assert!(matches!(error, fanfare::Error::Option("metrics", _)), "{error}");
    }
}
