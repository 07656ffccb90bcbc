//! Clients that send what they are told, byte for byte: no library in between that would refuse a `\xff`, a duplicate
//! header or a body that never ends.

pub(crate) mod http1;
pub(crate) mod http2;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use tollgate_scenario::Reply;
use tollgate_scenario::model::{Chunk, Lines, Request};

/// No exchange of the suites takes longer than this, real time.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two chunks, so that the proxy sees them one by one.
const BETWEEN_CHUNKS: Duration = Duration::from_millis(3);

/// What goes over the wire.
pub(crate) struct Outgoing<'a> {
    pub(crate) request: &'a Request,
    pub(crate) headers: &'a Lines,
}

impl Outgoing<'_> {
    /// Sends it on a connection of its own. A reply with status 0 says that the connection ended without one.
    ///
    /// # Errors
    /// The proxy cannot be reached, or answers nonsense.
    pub(crate) fn send(&self, to: SocketAddr) -> io::Result<Reply> {
        let mut stream = connect(to)?;
        if let Some(client) = &self.request.client {
            use io::Write as _;
            stream.write_all(proxy_line(client)?.as_bytes())?;
        }
        if self.request.http == 2 {
            http2::exchange(stream, self)
        } else {
            http1::exchange(stream, self)
        }
    }
}

pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The PROXY protocol (version 1) is how a test gets a client address of its own.
fn proxy_line(client: &str) -> io::Result<String> {
    let address: IpAddr = client
        .parse()
        .map_err(|_| io::Error::other(format!("request.client: no address: {client}")))?;
    Ok(match address {
        IpAddr::V4(ip) => format!("PROXY TCP4 {ip} 127.0.0.1 40000 80\r\n"),
        IpAddr::V6(ip) => format!("PROXY TCP6 {ip} ::1 40000 80\r\n"),
    })
}

/// Calls `write` with each chunk, waiting as the chunks say. Stops when it fails: the proxy may have answered already.
fn chunks(body: &[Chunk], mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    for (index, chunk) in body.iter().enumerate() {
        match chunk {
            Chunk::Data(data) => {
                if index > 0 {
                    std::thread::sleep(BETWEEN_CHUNKS);
                }
                write(&data.0)?;
            }
            Chunk::Pause { pause } => {
                std::thread::sleep(Duration::from_nanos(u64::try_from(pause.0).unwrap_or(0)))
            }
            Chunk::Cut { .. } => {
                return Err(io::Error::other(
                    "request.body: `cut` is for answers; use `abort: true`",
                ));
            }
        }
    }
    Ok(())
}
