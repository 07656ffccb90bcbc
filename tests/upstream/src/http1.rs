//! HTTP/1.1, by hand: the peer is a proxy that writes well-formed messages, and the tests need
//! bytes, trailers and cuts that a library would not let through.

use std::io::{self, ErrorKind};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

use crate::Counted;
use crate::answer::{Answer, Lines, Piece};
use crate::behaviour;
use crate::record::{Record, Shared, State};

const MAX_HEAD: usize = 1024 * 1024;

struct Reader {
    stream: BufWriter<Counted>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already used up.
    used: usize,
}

pub(crate) async fn serve(stream: Counted, state: &State, connection: u64) -> io::Result<()> {
    let mut reader = Reader {
        stream: BufWriter::new(stream),
        buffer: Vec::new(),
        used: 0,
    };
    while let Some(first) = reader.fill_first(state).await? {
        let (request, shared) = reader.head(state, connection, first).await?;
        reader.body(state, &request, &shared).await?;
        shared.lock().unwrap().complete_at = Some(state.elapsed());
        let record = shared.lock().unwrap().clone();
        let answer = behaviour::answer(state, &record).await;
        let close = record
            .header("connection")
            .any(|value| value.eq_ignore_ascii_case(b"close"));
        if !reader.write(&answer, record.method == b"HEAD").await? || close {
            break;
        }
    }
    reader.stream.shutdown().await
}

impl Reader {
    async fn more(&mut self) -> io::Result<()> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Waits for the first byte of a request; `None` = the peer is done.
    async fn fill_first(&mut self, state: &State) -> io::Result<Option<Duration>> {
        while self.used == self.buffer.len() {
            match self.more().await {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                other => other?,
            }
        }
        Ok(Some(state.elapsed()))
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line = rest[..end]
                    .strip_suffix(b"\r")
                    .unwrap_or(&rest[..end])
                    .to_vec();
                self.used += end + 1;
                return Ok(line);
            }
            if rest.len() > MAX_HEAD {
                return Err(ErrorKind::InvalidData.into());
            }
            self.more().await?;
        }
    }

    async fn lines(&mut self) -> io::Result<Lines> {
        let mut lines = Lines::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(lines);
            }
            let colon = line
                .iter()
                .position(|&byte| byte == b':')
                .ok_or(ErrorKind::InvalidData)?;
            lines.push((
                line[..colon].to_ascii_lowercase(),
                line[colon + 1..].trim_ascii().to_vec(),
            ));
        }
    }

    async fn head(
        &mut self,
        state: &State,
        connection: u64,
        headers_at: Duration,
    ) -> io::Result<(Record, Shared)> {
        let first = self.line().await?;
        let mut words = first.split(|&byte| byte == b' ');
        let method = words.next().unwrap_or_default().to_vec();
        let path = words.next().unwrap_or_default().to_vec();
        let headers = self.lines().await?;
        let authority = headers
            .iter()
            .find(|(name, _)| name == b"host")
            .map(|(_, value)| value.clone());
        let record = Record {
            connection,
            http: 1,
            method,
            path,
            authority: authority.unwrap_or_default(),
            headers,
            body: Vec::new(),
            body_bytes: 0,
            trailers: Lines::new(),
            headers_at,
            body_at: None,
            complete_at: None,
            digest: Sha256::new(),
        };
        Ok((record.clone(), state.begin(record)))
    }

    async fn body(&mut self, state: &State, head: &Record, shared: &Shared) -> io::Result<()> {
        let invalid = || io::Error::from(ErrorKind::InvalidData);
        if head
            .header("transfer-encoding")
            .any(|value| value.eq_ignore_ascii_case(b"chunked"))
        {
            loop {
                let line = self.line().await?;
                let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(size).map_err(|_| invalid())?;
                let size = u64::from_str_radix(size.trim(), 16).map_err(|_| invalid())?;
                if size == 0 {
                    let trailers = self.lines().await?;
                    shared.lock().unwrap().trailers = trailers;
                    return Ok(());
                }
                self.copy(state, size, shared).await?;
                self.line().await?;
            }
        }
        if let Some(length) = head.header("content-length").next() {
            let length = std::str::from_utf8(length).map_err(|_| invalid())?;
            self.copy(state, length.parse().map_err(|_| invalid())?, shared)
                .await?;
        }
        Ok(())
    }

    async fn copy(&mut self, state: &State, mut left: u64, shared: &Shared) -> io::Result<()> {
        while left > 0 {
            if self.used == self.buffer.len() {
                self.more().await?;
            }
            let have = self.buffer.len() - self.used;
            let take = have.min(usize::try_from(left).unwrap_or(usize::MAX));
            shared
                .lock()
                .unwrap()
                .add(&self.buffer[self.used..self.used + take], state.elapsed());
            self.used += take;
            left -= take as u64;
        }
        Ok(())
    }

    /// Whether the connection may serve another request.
    async fn write(&mut self, answer: &Answer, head_only: bool) -> io::Result<bool> {
        tokio::time::sleep(answer.delay).await;
        let bodiless = answer.status < 200 || answer.status == 204 || answer.status == 304;
        let chunked = answer.needs_chunks();
        let mut head =
            format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status)).into_bytes();
        for (name, value) in &answer.headers {
            push_line(&mut head, name, value);
        }
        if !bodiless && chunked {
            push_line(&mut head, b"transfer-encoding", b"chunked");
        } else if !bodiless {
            push_line(
                &mut head,
                b"content-length",
                answer.length().to_string().as_bytes(),
            );
        }
        head.extend_from_slice(b"\r\n");
        self.stream.write_all(&head).await?;
        if bodiless || head_only {
            self.stream.flush().await?;
            return Ok(true);
        }
        for piece in &answer.body {
            match piece {
                Piece::Data(data) if data.is_empty() => {}
                Piece::Data(data) if chunked => {
                    self.stream
                        .write_all(format!("{:x}\r\n", data.len()).as_bytes())
                        .await?;
                    self.stream.write_all(data).await?;
                    self.stream.write_all(b"\r\n").await?;
                }
                Piece::Data(data) => self.stream.write_all(data).await?,
                Piece::Pause(time) => {
                    self.stream.flush().await?;
                    tokio::time::sleep(*time).await;
                }
                Piece::Abort => {
                    self.stream.flush().await?;
                    return Ok(false);
                }
            }
        }
        if chunked {
            let mut end = b"0\r\n".to_vec();
            for (name, value) in &answer.trailers {
                push_line(&mut end, name, value);
            }
            end.extend_from_slice(b"\r\n");
            self.stream.write_all(&end).await?;
        }
        self.stream.flush().await?;
        Ok(true)
    }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}
