//! The protocol of Redis, as far as a bench needs it: commands out, replies in, one connection.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a reply: the bench ends instead of hanging.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word, as `OK`.
    Word(String),
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Replies.
    List(Vec<Reply>),
    /// Nothing there.
    Nothing,
}

/// A connection to a server.
pub struct Connection {
    input: BufReader<TcpStream>,
    output: BufWriter<TcpStream>,
    unanswered: usize,
}

impl Connection {
    /// Connects, and sends at once what is written.
    pub fn open(server: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Connection { input: BufReader::new(stream.try_clone()?), output: BufWriter::with_capacity(16 << 10, stream), unanswered: 0 })
    }

    /// Adds a command to what is sent with the next [`Connection::flush`].
    pub fn push(&mut self, words: &[&[u8]]) -> io::Result<()> {
        write!(self.output, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.output, "${}\r\n", word.len())?;
            self.output.write_all(word)?;
            self.output.write_all(b"\r\n")?;
        }
        self.unanswered += 1;
        Ok(())
    }

    /// Sends what was added.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// Commands whose reply was not read yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Waits for the reply to the oldest command.
    pub fn reply(&mut self) -> io::Result<Reply> {
        self.unanswered -= 1;
        read_reply(&mut self.input)
    }

    /// Sends one command and waits for its reply.
    pub fn call(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        assert_eq!(self.unanswered, 0, "replies come in the order of commands");
        self.push(words)?;
        self.flush()?;
        self.reply()
    }
}

/// Reads one reply; an error of the server becomes an error here.
fn read_reply(input: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
    let number = || rest.parse::<i64>().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("not a number: {line}")));
    match kind {
        "+" => Ok(Reply::Word(rest.to_string())),
        ":" => Ok(Reply::Number(number()?)),
        "-" => Err(io::Error::other(rest.to_string())),
        "$" | "*" if number()? < 0 => Ok(Reply::Nothing),
        "$" => {
            let mut bytes = vec![0; number()? as usize + 2];
            input.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Ok(Reply::Bytes(bytes))
        }
        "*" => (0..number()?).map(|_| read_reply(input)).collect::<io::Result<_>>().map(Reply::List),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("not a reply: {line}"))),
    }
}

#[test]
fn replies_are_read() {
    let mut input: &[u8] = b"+OK\r\n:-3\r\n$2\r\n\r\n\r\n*2\r\n$-1\r\n*1\r\n:1\r\n-ERR no\r\n?\r\n";
    assert_eq!(read_reply(&mut input).unwrap(), Reply::Word("OK".to_string()));
    assert_eq!(read_reply(&mut input).unwrap(), Reply::Number(-3));
    assert_eq!(read_reply(&mut input).unwrap(), Reply::Bytes(b"\r\n".to_vec()));
    assert_eq!(read_reply(&mut input).unwrap(), Reply::List(vec![Reply::Nothing, Reply::List(vec![Reply::Number(1)])]));
    assert_eq!(read_reply(&mut input).unwrap_err().to_string(), "ERR no");
    assert!(read_reply(&mut input).is_err());
    assert!(read_reply(&mut input).is_err(), "the end");
}
