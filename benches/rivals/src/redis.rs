//! Redis as the system has it, on a loopback port, in a directory of its own: one stream, `XADD`, `appendfsync always`.
//!
//! Set for this load: no snapshots, no rewrite of its file while it is measured, and no more than the newest records in memory (which
//! spares it work that the others do: theirs can all be read again). Each producer has a connection; the server syncs once
//! for all commands that came in one turn of its loop, and replies after that.

use crate::resp::{Connection, Reply};
use crate::rows;
use aquifer_benches::case::{Case, Contender, Load, Takes};
use aquifer_benches::tail::follower::{Follower, Reader};
use aquifer_benches::{machine, tail};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Redis; each producer waits for its record.
pub const REDIS: Contender<'static> = Contender {
    name: "redis",
    version: Some("Debian's"),
    driver: None,
    takes: Takes::Payload,
    in_flight: 1,
    keeps_files: false,
    open: &|dir, load| Redis::open(dir, load, 1),
};

/// Redis; each producer sends ahead of the replies.
pub const REDIS_PIPELINED: Contender<'static> = Contender {
    name: "redis pipelined",
    version: Some("Debian's"),
    driver: None,
    takes: Takes::Payload,
    in_flight: PIPELINE,
    keeps_files: false,
    open: &|dir, load| Redis::open(dir, load, PIPELINE),
};

/// A tail of Redis by `XREAD BLOCK`.
pub const TAIL: tail::Contender<'static> =
    tail::Contender { name: "redis XREAD BLOCK", version: Some("Debian's"), driver: None, row_bytes: rows::ROW_BYTES, open: &open_tail };

const PIPELINE: usize = 8;
/// Records that the stream keeps in memory, about.
const KEEP: &[u8] = b"1000";

const STREAM: &[u8] = b"records";
const START_MAX: Duration = Duration::from_secs(10);

/// The server; it ends when this is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path) -> io::Result<Server> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let options = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--daemonize", "no", "--dir"])
            .arg(dir)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(io::ErrorKind::Unsupported, format!("needs redis-server ({error})")))?;
        let mut server = Server { process, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let started = Instant::now();
        loop {
            let answer = self.connect().and_then(|mut connection| connection.call(&[b"CONFIG", b"GET", b"appendfsync"]));
            match answer {
                Ok(Reply::List(found)) if found.last() == Some(&Reply::Bytes(b"always".to_vec())) => return Ok(()),
                Ok(other) => return Err(io::Error::other(format!("the server does not sync each append: {other:?}"))),
                Err(error) if started.elapsed() > START_MAX || self.process.try_wait()?.is_some() => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.address)
    }

    fn cpu_s(&self) -> io::Result<f64> {
        machine::cpu_of_process_s(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("redis-server may still run: {error}");
        }
    }
}

struct Redis {
    producers: Vec<Mutex<Connection>>,
    in_flight: usize,
    // Behind the connections: the server goes last.
    server: Server,
}

impl Redis {
    fn open(dir: &Path, load: Load, in_flight: usize) -> io::Result<Box<dyn Case>> {
        let server = Server::start(dir)?;
        let connect = |_| server.connect().map(Mutex::new);
        let producers = (0..load.producers).map(connect).collect::<io::Result<_>>()?;
        Ok(Box::new(Redis { producers, in_flight, server }))
    }

    fn connection(&self, producer: usize) -> MutexGuard<'_, Connection> {
        self.producers[producer].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Case for Redis {
    fn append(&self, producer: usize, record: &[u8]) -> io::Result<()> {
        let mut connection = self.connection(producer);
        connection.push(&[b"XADD", STREAM, b"MAXLEN", b"~", KEEP, b"*", b"r", record])?;
        connection.flush()?;
        while connection.unanswered() >= self.in_flight {
            connection.reply()?;
        }
        Ok(())
    }

    fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        for producer in 0..self.producers.len() {
            let mut connection = self.connection(producer);
            while connection.unanswered() > 0 {
                connection.reply()?;
            }
        }
        let mut rows = Vec::new();
        take_rows(self.connection(0).call(&[b"XRANGE", STREAM, b"-", b"+"])?, &mut rows)?;
        Ok(Some(rows.into_iter().map(|(_, row)| row).collect()))
    }

    fn cpu_elsewhere_s(&self) -> io::Result<f64> {
        self.server.cpu_s()
    }
}

/// Takes id and value of each entry out of the reply to `XRANGE`.
fn take_rows(reply: Reply, rows: &mut Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
    let unexpected = || io::Error::new(io::ErrorKind::InvalidData, "not a list of entries");
    let Reply::List(entries) = reply else { return Err(unexpected()) };
    for entry in entries {
        let Reply::List(entry) = entry else { return Err(unexpected()) };
        let Ok([Reply::Bytes(id), Reply::List(fields)]) = <[Reply; 2]>::try_from(entry) else { return Err(unexpected()) };
        let Ok([_, Reply::Bytes(value)]) = <[Reply; 2]>::try_from(fields) else { return Err(unexpected()) };
        rows.push((id, value));
    }
    Ok(())
}

struct RedisTail(Server);

fn open_tail(dir: &Path) -> io::Result<Box<dyn tail::Tail>> {
    Ok(Box::new(RedisTail(Server::start(dir)?)))
}

impl tail::Tail for RedisTail {
    fn writer(&self) -> io::Result<Box<dyn tail::Writer>> {
        Ok(Box::new(RedisWriter(self.0.connect()?)))
    }

    fn follower(&self, rows: u64) -> io::Result<Follower> {
        Ok(Follower::thread(Box::new(RedisReader { connection: self.0.connect()?, last: b"0".to_vec() }), rows))
    }

    fn cpu_elsewhere_s(&self) -> io::Result<f64> {
        self.0.cpu_s()
    }
}

struct RedisWriter(Connection);

impl tail::Writer for RedisWriter {
    fn append(&mut self, due_ns: &[u64]) -> io::Result<()> {
        for due_ns in due_ns {
            self.0.push(&[b"XADD", STREAM, b"*", b"r", &rows::row(*due_ns)])?;
        }
        self.0.flush()?;
        while self.0.unanswered() > 0 {
            self.0.reply()?;
        }
        Ok(())
    }
}

struct RedisReader {
    connection: Connection,
    last: Vec<u8>,
}

impl Reader for RedisReader {
    fn wait(&mut self, due_ns: &mut Vec<u64>) -> io::Result<()> {
        let reply = self.connection.call(&[b"XREAD", b"COUNT", b"10000", b"BLOCK", b"0", b"STREAMS", STREAM, &self.last])?;
        let unexpected = || io::Error::new(io::ErrorKind::InvalidData, "not a reply to XREAD");
        let Reply::List(mut streams) = reply else { return Err(unexpected()) };
        let Some(Reply::List(stream)) = streams.pop() else { return Err(unexpected()) };
        let mut found = Vec::new();
        take_rows(stream.into_iter().nth(1).ok_or_else(unexpected)?, &mut found)?;
        self.last = found.last().ok_or_else(unexpected)?.0.clone();
        found.iter().try_for_each(|(_, row)| {
            due_ns.push(rows::due_ns(row)?);
            Ok(())
        })
    }
}
