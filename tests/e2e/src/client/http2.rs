//! HTTP/2 with prior knowledge, frame by frame (RFC 9113). Headers are sent as HPACK literals without indexing or Huffman
//! code, so that any byte goes out as it is; a library decodes what comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex};
use std::thread;

use fluke_hpack::Decoder;
use tollgate_scenario::Reply;
use tollgate_scenario::model::{Lines, lines};

use super::{Outgoing, TIMEOUT, chunks};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// An error code: the stream is no longer wanted.
const CANCEL: u32 = 8;

const MAX_FRAME: usize = 16_384;
const STREAM: u32 = 1;
const WHOLE_WINDOW: u32 = 0x7fff_ffff;

/// What the reading side tells the writing side.
struct Flow {
    /// Credit of the connection and of the stream.
    connection: i64,
    stream: i64,
    initial: i64,
    /// Nothing more need be sent: answered, reset, or gone.
    over: bool,
}

pub(super) fn exchange(stream: TcpStream, out: &Outgoing<'_>) -> io::Result<Reply> {
    let flow = (
        Mutex::new(Flow {
            connection: 65_535,
            stream: 65_535,
            initial: 65_535,
            over: false,
        }),
        Condvar::new(),
    );
    let writer = Mutex::new(stream.try_clone()?);
    {
        let mut start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // INITIAL_WINDOW_SIZE (4), so that answers never wait for us.
        push_frame(
            &mut start,
            SETTINGS,
            0,
            0,
            &[&[0, 4], WHOLE_WINDOW.to_be_bytes().as_slice()].concat(),
        );
        push_frame(
            &mut start,
            WINDOW_UPDATE,
            0,
            0,
            &(WHOLE_WINDOW - 65_535).to_be_bytes(),
        );
        writer.lock().unwrap().write_all(&start)?;
    }
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let reply = read_reply(stream.try_clone()?, &writer, &flow);
            flow.0.lock().unwrap().over = true;
            flow.1.notify_all();
            reply
        });
        // A write error is the proxy hanging up after an early answer: what it answered is what counts.
        let _ = write_request(&writer, &flow, out);
        if out.request.abort {
            let _ = send(&writer, RST_STREAM, 0, STREAM, &CANCEL.to_be_bytes());
            let _ = stream.shutdown(Shutdown::Both);
        }
        let reply = reader.join().expect("the reader does not panic");
        let _ = stream.shutdown(Shutdown::Both);
        reply
    })
}

fn write_request(
    writer: &Mutex<TcpStream>,
    flow: &(Mutex<Flow>, Condvar),
    out: &Outgoing<'_>,
) -> io::Result<()> {
    let request = out.request;
    let mut head = vec![
        (b":method".to_vec(), request.method.clone().into_bytes()),
        (b":scheme".to_vec(), b"http".to_vec()),
        (b":authority".to_vec(), request.authority.0.clone()),
        (b":path".to_vec(), request.path.0.clone()),
    ];
    head.extend(
        out.headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone())),
    );
    let trailers = lines(&request.trailers);
    let has_body = !request.body.is_empty() || request.abort;
    write_headers(writer, &head, !has_body && trailers.is_empty())?;
    let whole = request.whole_body().len();
    let mut sent = 0;
    chunks(&request.body, |data| {
        sent += data.len();
        let last = sent == whole && trailers.is_empty() && !request.abort && !data.is_empty();
        write_data(writer, flow, data, last)
    })?;
    if !trailers.is_empty() && !request.abort {
        write_headers(writer, &trailers, true)?;
    } else if has_body && whole == 0 && !request.abort {
        send(writer, DATA, END_STREAM, STREAM, &[])?;
    }
    Ok(())
}

fn write_headers(writer: &Mutex<TcpStream>, lines: &Lines, end_stream: bool) -> io::Result<()> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0); // literal without indexing, new name
        push_string(&mut block, name);
        push_string(&mut block, value);
    }
    let mut frames = Vec::new();
    let parts = block.chunks(MAX_FRAME).collect::<Vec<_>>();
    for (index, part) in parts.iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let end_headers = if index + 1 == parts.len() {
            END_HEADERS
        } else {
            0
        };
        let end_stream = if index == 0 && end_stream {
            END_STREAM
        } else {
            0
        };
        push_frame(&mut frames, kind, end_headers | end_stream, STREAM, part);
    }
    // In one write: nothing may come between HEADERS and its CONTINUATIONs.
    writer.lock().unwrap().write_all(&frames)
}

/// Sends within the flow-control windows.
fn write_data(
    writer: &Mutex<TcpStream>,
    flow: &(Mutex<Flow>, Condvar),
    mut data: &[u8],
    end: bool,
) -> io::Result<()> {
    while !data.is_empty() {
        let take = {
            let blocked = |flow: &mut Flow| !flow.over && flow.connection.min(flow.stream) <= 0;
            let (mut flow, wait) = flow
                .1
                .wait_timeout_while(flow.0.lock().unwrap(), TIMEOUT, blocked)
                .unwrap();
            if flow.over || wait.timed_out() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let room = usize::try_from(flow.connection.min(flow.stream)).unwrap_or(0);
            let take = room.min(MAX_FRAME).min(data.len());
            flow.connection -= take as i64;
            flow.stream -= take as i64;
            take
        };
        let (part, rest) = data.split_at(take);
        send(
            writer,
            DATA,
            if end && rest.is_empty() {
                END_STREAM
            } else {
                0
            },
            STREAM,
            part,
        )?;
        data = rest;
    }
    Ok(())
}

fn read_reply(
    mut stream: TcpStream,
    writer: &Mutex<TcpStream>,
    flow: &(Mutex<Flow>, Condvar),
) -> io::Result<Reply> {
    let mut reply = Reply::default();
    let mut decoder = Decoder::new();
    let mut block: Vec<u8> = Vec::new();
    let mut block_ends_stream = false;
    loop {
        let mut head = [0; 9];
        if !read_all(&mut stream, &mut head)? {
            return Ok(reply);
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & WHOLE_WINDOW;
        let mut payload = vec![0; length];
        if !read_all(&mut stream, &mut payload)? {
            return Ok(reply);
        }
        let number = |at: usize| {
            payload
                .get(at..at + 4)
                .map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        };
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload
                    .chunks_exact(6)
                    .filter(|setting| setting[..2] == [0, 4])
                {
                    let initial = i64::from(u32::from_be_bytes([
                        setting[2], setting[3], setting[4], setting[5],
                    ]));
                    let mut flow = flow.0.lock().unwrap();
                    flow.stream += initial - flow.initial;
                    flow.initial = initial;
                }
                flow.1.notify_all();
                // The peer may be gone already; then reading says so.
                let _ = send(writer, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => {
                let _ = send(writer, PING, ACK, 0, &payload);
            }
            WINDOW_UPDATE => {
                let mut windows = flow.0.lock().unwrap();
                let window = if id == 0 {
                    &mut windows.connection
                } else {
                    &mut windows.stream
                };
                *window += i64::from(number(0));
                flow.1.notify_all();
            }
            DATA if id == STREAM => {
                reply.body.extend_from_slice(unpadded(&payload, flags));
                reply.complete = flags & END_STREAM != 0;
            }
            HEADERS | CONTINUATION if id == STREAM => {
                if kind == HEADERS {
                    let part = unpadded(&payload, flags);
                    block = part
                        .get(if flags & PRIORITY != 0 { 5 } else { 0 }..)
                        .unwrap_or_default()
                        .to_vec();
                    block_ends_stream = flags & END_STREAM != 0;
                } else {
                    block.extend_from_slice(&payload);
                }
                if flags & END_HEADERS != 0 {
                    let lines = decoder
                        .decode(&block)
                        .map_err(|error| io::Error::other(format!("HPACK: {error:?}")))?;
                    take_headers(&mut reply, lines)?;
                    reply.complete = block_ends_stream;
                }
            }
            RST_STREAM if id == STREAM => return Ok(reply),
            GOAWAY if number(4) != 0 => return Ok(reply),
            _ => {}
        }
        if reply.complete {
            return Ok(reply);
        }
    }
}

fn take_headers(reply: &mut Reply, lines: Lines) -> io::Result<()> {
    let status = lines
        .iter()
        .find(|(name, _)| name == b":status")
        .map(|(_, value)| String::from_utf8_lossy(value).parse());
    match status {
        Some(Ok(100..200)) => {}
        Some(Ok(status)) => {
            reply.status = status;
            reply.headers = lines
                .into_iter()
                .filter(|(name, _)| !name.starts_with(b":"))
                .collect();
        }
        None => reply.trailers = lines,
        Some(Err(_)) => return Err(io::Error::other("no number in :status")),
    }
    Ok(())
}

fn unpadded(payload: &[u8], flags: u8) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    let padding = usize::from(payload.first().copied().unwrap_or(0));
    payload
        .get(1..payload.len().saturating_sub(padding))
        .unwrap_or_default()
}

/// `false` = the connection ended; a time-out is an error.
fn read_all(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    match stream.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
            Err(io::Error::other("no answer in time: the request is stuck"))
        }
        Err(_) => Ok(false),
    }
}

fn send(
    writer: &Mutex<TcpStream>,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> io::Result<()> {
    let mut frame = Vec::new();
    push_frame(&mut frame, kind, flags, stream, payload);
    writer.lock().unwrap().write_all(&frame)
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(0).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// An HPACK string literal without Huffman code (RFC 7541, sections 5.1 and 5.2).
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        out.push(length as u8);
    }
    out.extend_from_slice(text);
}
