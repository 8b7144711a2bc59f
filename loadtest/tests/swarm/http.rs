//! A long-polling server that is correct and yet unlike most: it has its own ideas of connections.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// How it treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Each has one request; it says so.
    ClosesEach,
    /// It ends those that brought something when it has answered, as if nothing had been asked
    /// on them for too long; then it asks for a heartbeat.
    HangsUpPosts,
    /// Bodies come in chunks.
    Chunks,
    /// The fifth request that brings something is refused.
    RefusesFifth,
}

pub struct Server {
    pub address: SocketAddr,
    manner: Manner,
    /// Packets that wait for a poll, by session.
    sessions: Mutex<BTreeMap<String, Vec<String>>>,
    is_there: Condvar,
    posts: Mutex<usize>,
}

/// Starts a server, which ends with the test's process.
pub fn server(manner: Manner) -> Arc<Server> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server {
        address,
        manner,
        sessions: Mutex::default(),
        is_there: Condvar::new(),
        posts: Mutex::default(),
    });
    let accepting = Arc::clone(&server);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (server, socket) = (Arc::clone(&accepting), socket.unwrap());
            thread::spawn(move || server.serve(&socket));
        }
    });
    server
}

impl Server {
    /// How many requests brought something.
    pub fn posts(&self) -> usize {
        *self.posts.lock().unwrap()
    }

    fn serve(&self, socket: &TcpStream) {
        socket.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(socket);
        while let Some((first, body)) = request(&mut reader) {
            let session = first.split_once("&sid=").map(|(_, rest)| rest);
            let session = session.map(|rest| rest.split(' ').next().unwrap().to_owned());
            let is_post = first.starts_with("POST");
            let answer = match &session {
                None => self.open(),
                Some(session) if is_post => self.take(session, &body),
                Some(session) => self.wait(session),
            };
            // A swarm that is done does not wait for answers.
            let _ = (&*socket).write_all(&self.response(answer.as_deref()));
            if self.manner == Manner::HangsUpPosts && is_post {
                let _ = socket.shutdown(Shutdown::Both);
                return self.give(&session.unwrap(), "2".to_owned());
            }
            if self.manner == Manner::ClosesEach {
                return;
            }
        }
    }

    fn response(&self, body: Option<&str>) -> Vec<u8> {
        let Some(body) = body else {
            return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec();
        };
        let length = body.len();
        match self.manner {
            Manner::Chunks => format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n{:x}\r\n{}\r\n\
                 0\r\n\r\n",
                &body[..1],
                length - 1,
                &body[1..]
            ),
            Manner::ClosesEach => format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"),
        }
        .into_bytes()
    }

    fn open(&self) -> Option<String> {
        let mut sessions = self.sessions.lock().unwrap();
        let name = format!("session-{}", sessions.len());
        let open = format!("0{{\"sid\":\"{name}\",\"upgrades\":[]}}");
        sessions.insert(name, Vec::new());
        Some(open)
    }

    fn take(&self, session: &str, body: &str) -> Option<String> {
        *self.posts.lock().unwrap() += 1;
        if self.manner == Manner::RefusesFifth && self.posts() == 5 {
            return None;
        }
        for packet in body.split('\x1e') {
            let answer = match packet.split_once("[\"echo\",") {
                Some((head, rest)) => format!("43{}[{rest}", &head[2..]),
                None if packet == "40" => "40{\"sid\":\"x\"}".to_owned(),
                None if packet == "3" => continue,
                None => panic!("what is {packet}?"),
            };
            self.give(session, answer);
        }
        Some("ok".to_owned())
    }

    fn give(&self, session: &str, packet: String) {
        self.sessions.lock().unwrap().get_mut(session).unwrap().push(packet);
        self.is_there.notify_all();
    }

    fn wait(&self, session: &str) -> Option<String> {
        let sessions = self.sessions.lock().unwrap();
        let is_empty = |sessions: &mut BTreeMap<String, Vec<String>>| sessions[session].is_empty();
        let mut sessions = self.is_there.wait_while(sessions, is_empty).unwrap();
        Some(std::mem::take(sessions.get_mut(session).unwrap()).join("\x1e"))
    }
}

/// The first line of a request, and its body.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, String)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, String::from_utf8(body).unwrap()))
}
