//! HTTP/2 with prior knowledge, for gRPC and for clusters that speak it.

use std::io;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use sha2::{Digest, Sha256};

use crate::Counted;
use crate::answer::{Answer, Lines, Piece};
use crate::behaviour;
use crate::ratelimit;
use crate::record::{Record, State};

pub(crate) async fn serve(
    stream: Counted,
    state: &std::sync::Arc<State>,
    connection: u64,
) -> io::Result<()> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(16 << 20)
        .initial_connection_window_size(64 << 20)
        .max_header_list_size(1 << 20);
    let mut server = builder
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(io::Error::other)?;
    while let Some(request) = server.accept().await {
        let (request, respond) = request.map_err(io::Error::other)?;
        let state = std::sync::Arc::clone(state);
        // A stream that fails (reset by the proxy) ends alone; its record stays incomplete.
        tokio::spawn(async move { exchange(request, respond, &state, connection).await });
    }
    Ok(())
}

async fn exchange(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    state: &State,
    connection: u64,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let shared = state.begin(Record {
        connection,
        http: 2,
        method: head.method.as_str().into(),
        path: head
            .uri
            .path_and_query()
            .map(|path| path.as_str().into())
            .unwrap_or_default(),
        authority: head
            .uri
            .authority()
            .map(|name| name.as_str().into())
            .unwrap_or_default(),
        headers: lines(&head.headers),
        body: Vec::new(),
        body_bytes: 0,
        trailers: Lines::new(),
        headers_at: state.elapsed(),
        body_at: None,
        complete_at: None,
        digest: Sha256::new(),
    });
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        shared.lock().unwrap().add(&data, state.elapsed());
    }
    if let Some(trailers) = body.trailers().await? {
        shared.lock().unwrap().trailers = lines(&trailers);
    }
    shared.lock().unwrap().complete_at = Some(state.elapsed());
    let record = shared.lock().unwrap().clone();
    let answer = if record.path == ratelimit::PATH {
        ratelimit::answer(state, &record)
    } else {
        behaviour::answer(state, &record).await
    };
    write(respond, &answer).await
}

async fn write(mut respond: SendResponse<Bytes>, answer: &Answer) -> Result<(), h2::Error> {
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::OK);
    *response.headers_mut() = map(&answer.headers);
    let trailers = map(&answer.trailers);
    let empty = answer.length() == 0 && !answer.body.contains(&Piece::Abort);
    let mut stream = respond.send_response(response, empty && trailers.is_empty())?;
    if empty && trailers.is_empty() {
        return Ok(());
    }
    let last = answer.body.len().saturating_sub(1);
    for (index, piece) in answer.body.iter().enumerate() {
        match piece {
            Piece::Data(data) => {
                send(&mut stream, data, index == last && trailers.is_empty()).await?
            }
            Piece::Pause(time) => tokio::time::sleep(*time).await,
            Piece::Abort => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
        }
    }
    if !trailers.is_empty() {
        stream.send_trailers(trailers)?;
    } else if !matches!(answer.body.last(), Some(Piece::Data(_))) {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// Sends within the peer's flow-control window.
async fn send(stream: &mut SendStream<Bytes>, data: &[u8], end: bool) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(data);
    loop {
        stream.reserve_capacity(rest.len());
        let room = if rest.is_empty() {
            0
        } else {
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Ok(()),
            }
        };
        let part = rest.split_to(room.min(rest.len()));
        stream.send_data(part, end && rest.is_empty())?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn lines(map: &HeaderMap) -> Lines {
    map.iter()
        .map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()))
        .collect()
}

/// Header lines that HTTP/2 cannot carry are left out.
fn map(lines: &Lines) -> HeaderMap {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        Some((
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        ))
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().filter_map(line) {
        map.append(name, value);
    }
    map
}
