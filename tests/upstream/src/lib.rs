//! The one upstream program of Tollgate's demo, tests and benchmarks.
//!
//! It listens on 127.0.0.1 unless told otherwise and speaks HTTP/1.1 and HTTP/2 (prior knowledge) on the same
//! port, written by hand for HTTP/1 so that it can see and send what a library would refuse
//! (`\xff`, trailers nobody announced, a body cut in the middle). What it answers is chosen by
//! the path and a few `x-respond-*` headers (see [`behaviour`]); every request it sees is recorded
//! from its first byte on, so that a test can say "the upstream never saw a byte".

pub mod answer;
pub mod behaviour;
mod chat;
pub mod control;
mod http1;
mod http2;
pub mod ratelimit;
pub mod record;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

pub use record::State;

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it saw and how it answers next.
    pub state: Arc<State>,
}

impl Upstream {
    /// Listens on 127.0.0.1:`port` (0 = any free port) and serves until the runtime ends.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(name: &str, port: u16) -> io::Result<Self> {
        Self::listen(name, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }

    /// The same on another address, which is for containers only: nobody is authenticated.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listen(name: &str, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(name));
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state })
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        // An accept error concerns one connection (aborted, out of descriptors): go on.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&state)));
        }
    }
}

/// Decides by the first bytes which protocol the peer speaks. Errors end the connection, and what
/// was recorded so far stays recorded as incomplete.
async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let id = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let mut stream = Counted {
        stream,
        start: Vec::new(),
        state: Arc::clone(&state),
    };
    let mut start = Vec::with_capacity(PREFACE.len());
    while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
        match stream.read_u8().await {
            Ok(byte) => start.push(byte),
            Err(_) => return,
        }
    }
    let http2 = start == PREFACE;
    start.reverse();
    stream.start = start;
    let _ = if http2 {
        http2::serve(stream, &state, id).await
    } else {
        http1::serve(stream, &state, id).await
    };
}

/// A stream that counts every byte the peer sent, parsed or not.
struct Counted {
    stream: TcpStream,
    /// Bytes already read while the protocol was found out, in reverse.
    start: Vec<u8>,
    state: Arc<State>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.start.is_empty() {
            while buf.remaining() > 0 {
                let Some(byte) = self.start.pop() else { break };
                buf.put_slice(&[byte]);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let got = buf.filled().len() - before;
        self.state.bytes.fetch_add(got as u64, Ordering::SeqCst);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
