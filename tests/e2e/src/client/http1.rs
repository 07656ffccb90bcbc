//! HTTP/1.1 over a plain socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use tollgate_scenario::Reply;
use tollgate_scenario::model::{Lines, lines};

use super::{Outgoing, chunks};

/// One request, one answer, while the answer is read beside the writing: a proxy may answer early and stop reading.
pub(super) fn exchange(stream: TcpStream, out: &Outgoing<'_>) -> io::Result<Reply> {
    let reading = stream.try_clone()?;
    let head_only = out.request.method == "HEAD";
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_reply(&mut BufReader::new(reading), head_only));
        // A write error is the proxy hanging up after an early answer: what it answered is what counts.
        let _ = write_request(&stream, out);
        if out.request.abort {
            let _ = stream.shutdown(Shutdown::Both);
        }
        reader.join().expect("the reader does not panic")
    })
}

fn write_request(mut stream: &TcpStream, out: &Outgoing<'_>) -> io::Result<()> {
    let request = out.request;
    let body = request.whole_body();
    let mut head = request.method.clone().into_bytes();
    head.push(b' ');
    head.extend_from_slice(&request.path.0);
    head.extend_from_slice(b" HTTP/1.1\r\n");
    push_line(&mut head, b"host", &request.authority.0);
    for (name, value) in out.headers {
        push_line(&mut head, name, value);
    }
    let own_length = out
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    let chunked = request.chunked || !request.trailers.is_empty();
    if chunked {
        push_line(&mut head, b"transfer-encoding", b"chunked");
    } else if !own_length && (!body.is_empty() || !request.body.is_empty()) {
        // An aborted body promises one byte more than it brings.
        push_line(
            &mut head,
            b"content-length",
            (body.len() + usize::from(request.abort))
                .to_string()
                .as_bytes(),
        );
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head)?;
    chunks(&request.body, |data| {
        if !chunked {
            return stream.write_all(data);
        }
        if data.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk)
    })?;
    if chunked && !request.abort {
        let mut end = b"0\r\n".to_vec();
        for (name, value) in lines(&request.trailers) {
            push_line(&mut end, &name, &value);
        }
        end.extend_from_slice(b"\r\n");
        stream.write_all(&end)?;
    }
    Ok(())
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Reads one answer. A connection that ends before its first byte gives status 0.
pub(crate) fn read_reply(reader: &mut impl BufRead, head_only: bool) -> io::Result<Reply> {
    let mut reply = Reply::default();
    loop {
        let Some(first) = read_line(reader)? else {
            return Ok(reply);
        };
        let text = String::from_utf8_lossy(&first).into_owned();
        let status = text
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|status| status.parse().ok());
        reply.status =
            status.ok_or_else(|| io::Error::other(format!("no status line: {text:?}")))?;
        let Some(headers) = read_lines(reader)? else {
            return Ok(reply);
        };
        if reply.status >= 200 {
            reply.headers = headers;
            break;
        }
    }
    reply.complete = read_body(reader, &mut reply, head_only)?;
    Ok(reply)
}

/// Whether the body came to its end.
fn read_body(reader: &mut impl BufRead, reply: &mut Reply, head_only: bool) -> io::Result<bool> {
    if head_only || reply.status == 204 || reply.status == 304 {
        return Ok(true);
    }
    let header = |name: &[u8]| {
        reply
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
    };
    if header(b"transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        loop {
            let Some(line) = read_line(reader)? else {
                return Ok(false);
            };
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
            let size = size.ok_or_else(|| io::Error::other("no chunk size"))?;
            if size == 0 {
                let Some(trailers) = read_lines(reader)? else {
                    return Ok(false);
                };
                reply.trailers = trailers;
                return Ok(true);
            }
            if !read_exactly(reader, size, &mut reply.body)? || read_line(reader)?.is_none() {
                return Ok(false);
            }
        }
    }
    match header(b"content-length").and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok())
    {
        Some(length) => read_exactly(reader, length, &mut reply.body),
        None => ended(reader.read_to_end(&mut reply.body)).map(|read| read.is_some()),
    }
}

/// `None` = the connection ended; a time-out is an error.
fn ended<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if [
                ErrorKind::UnexpectedEof,
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
            ]
            .contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
            Err(io::Error::other("no answer in time: the request is stuck"))
        }
        Err(error) => Err(error),
    }
}

fn read_exactly(reader: &mut impl BufRead, size: usize, into: &mut Vec<u8>) -> io::Result<bool> {
    let had = into.len();
    let read = ended(reader.take(size as u64).read_to_end(into))?;
    Ok(read.is_some() && into.len() - had == size)
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if ended(reader.read_until(b'\n', &mut line))?.is_none() || line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

fn read_lines(reader: &mut impl BufRead) -> io::Result<Option<Lines>> {
    let mut lines = Lines::new();
    loop {
        let Some(line) = read_line(reader)? else {
            return Ok(None);
        };
        if line.is_empty() {
            return Ok(Some(lines));
        }
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .ok_or_else(|| io::Error::other("no header line"))?;
        lines.push((
            line[..colon].to_ascii_lowercase(),
            line[colon + 1..].trim_ascii().to_vec(),
        ));
    }
}
