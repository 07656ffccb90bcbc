//! Limitador's own counting, in memory, behind `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! ```text
//! tollgate-limitador --port N --limits FILE [--rate-limit-headers NONE|DRAFT_VERSION_03] [--log FILE]
//! ```
//! Limits are Limitador's (`namespace`, `max_value`, `seconds`, `conditions`, `variables`), as JSON. What is answered is
//! what limitador-server answers: no status, and what there is to say about a limit in `response_headers_to_add`, with
//! the option of the same name. `--log` writes down each descriptor, one a line: `domain key=value`.

mod message;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use limitador::RateLimiter;
use limitador::limit::{Context, Limit, Namespace};
use message::{Header, RateLimitRequest, RateLimitResponse};
use prost::Message;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

struct Server {
    limiter: RateLimiter,
    headers: bool,
    log: Option<Mutex<File>>,
}

impl Server {
    fn decide(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, (u16, String)> {
        if request.domain.is_empty() {
            return Ok(RateLimitResponse::default());
        }
        let values: Vec<HashMap<String, String>> = request
            .descriptors
            .iter()
            .map(|d| {
                d.entries
                    .iter()
                    .map(|e| (e.key.clone(), e.value.clone()))
                    .collect()
            })
            .collect();
        self.note(&request.domain, &values);
        let mut context = Context::default();
        context.list_binding("descriptors".to_owned(), values);
        let namespace = Namespace::from(request.domain.as_str());
        let hits = u64::from(request.hits_addend.max(1));
        let mut result = self
            .limiter
            .check_rate_limited_and_update(&namespace, &context, hits)
            .map_err(|_| (14, "Service unavailable".to_owned()))?;
        let mut response_headers_to_add: Vec<Header> = if self.headers {
            let lines = result.response_header().into_iter();
            lines.map(|(key, value)| Header { key, value }).collect()
        } else {
            Vec::new()
        };
        response_headers_to_add.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(RateLimitResponse {
            overall_code: if result.limited { 2 } else { 1 },
            response_headers_to_add,
        })
    }

    fn note(&self, domain: &str, descriptors: &[HashMap<String, String>]) {
        let Some(log) = &self.log else { return };
        let entries = descriptors.iter().flatten();
        let words: Vec<String> = entries
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        writeln!(log.lock().expect("the log"), "{domain} {}", words.join(" "))
            .expect("the log can be written");
    }

    /// The message after the five bytes of its frame.
    fn answer(&self, path: &str, body: &[u8]) -> Result<RateLimitResponse, (u16, String)> {
        if path != METHOD {
            return Err((12, format!("no method {path}")));
        }
        let message = body.get(5..).unwrap_or_default();
        let request = RateLimitRequest::decode(message).map_err(|e| (13, e.to_string()))?;
        self.decide(&request)
    }

    async fn exchange(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let (head, mut incoming) = request.into_parts();
        let mut body = BytesMut::new();
        while let Some(data) = incoming.data().await {
            let data = data?;
            incoming.flow_control().release_capacity(data.len())?;
            body.extend_from_slice(&data);
        }
        let response = Response::builder().header("content-type", "application/grpc");
        let response = response.body(()).map_err(|_| Reason::INTERNAL_ERROR)?;
        let mut stream = respond.send_response(response, false)?;
        let mut trailers = HeaderMap::new();
        match self.answer(head.uri.path(), &body) {
            Ok(message) => {
                let message = message.encode_to_vec();
                let mut frame = vec![0];
                frame.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
                frame.extend(message);
                stream.send_data(frame.into(), false)?;
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
            }
            Err((status, text)) => {
                trailers.insert("grpc-status", HeaderValue::from(status));
                if let Ok(text) = HeaderValue::from_str(&text) {
                    trailers.insert("grpc-message", text);
                }
            }
        }
        stream.send_trailers(trailers)
    }
}

async fn serve(server: Arc<Server>, stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.exchange(request, respond).await });
    }
    Ok(())
}

fn arguments() -> HashMap<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] if name.starts_with("--") => (name.clone(), value.clone()),
            _ => panic!("usage: tollgate-limitador --port N --limits FILE [--rate-limit-headers NONE|DRAFT_VERSION_03] [--log FILE]"),
        })
        .collect()
}

#[tokio::main(worker_threads = 1)]
async fn main() {
    let arguments = arguments();
    let port: u16 = arguments["--port"].parse().expect("--port is a port");
    let file = File::open(&arguments["--limits"]).expect("--limits is a file");
    let limits: Vec<Limit> =
        serde_json::from_reader(file).expect("--limits holds Limitador's limits");
    let limiter = RateLimiter::new(1_000_000);
    for limit in limits {
        limiter.add_limit(limit);
    }
    let headers = arguments
        .get("--rate-limit-headers")
        .is_some_and(|v| v == "DRAFT_VERSION_03");
    let log = arguments
        .get("--log")
        .map(|path| Mutex::new(File::create(path).expect("--log can be written")));
    let server = Arc::new(Server {
        limiter,
        headers,
        log,
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("the port is free");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(Arc::clone(&server), stream));
    }
}
