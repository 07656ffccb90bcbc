//! The pure policies as an engine: the chain of `tollgate-gateway` in a world of plain data. Runs on the host and,
//! compiled to WebAssembly, under Node. What a proxy does around the policies (callbacks, buffers, routing) is
//! imitated as `docs/how-it-runs.md` describes it; that the imitation is right is what the Envoy engine is for.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_core::config::{self, Report};
use tollgate_core::drive::{Drive, ResponseStep, Step};
use tollgate_core::headers::HeaderOp;
use tollgate_core::metrics::MetricKind;
use tollgate_core::testing::{TestReply, TestWorld};
use tollgate_core::time::UnixNanos;
use tollgate_core::world::{Attribute, Call, CallAnswer, CallId, Level, Outcome};
use tollgate_core::{Exchange, Headers, LocalReply, Metrics, Policy, ResponseRead};
use tollgate_gateway::{Chain, Gateway};

use crate::engine::{Broken, Engine, Metric, Observed, Refusal, Reply, Seen, Wanted, upstream_for};
use crate::model::{self, Answer, Chunk, EngineKind, Lines, Request, Scenario, Services};
use crate::time::Instant;

/// One plugin.
struct Plugin {
    gateway: Gateway,
    metrics: Metrics,
    world: TestWorld,
}

/// See the module.
#[derive(Default)]
pub struct Native {
    plugins: Vec<Plugin>,
    retired: Vec<Metric>,
    now: Instant,
    call: Option<Answer>,
    settled: bool,
    trusted_hops: Option<u32>,
}

/// The plugins' sides of one exchange.
struct Side<'a> {
    plugin: &'a Plugin,
    drive: Drive<Chain>,
    exchange: Exchange,
}

impl Native {
    fn build(
        &self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<Vec<Plugin>, Refusal>, Broken> {
        let mut plugins = Vec::new();
        for (root_id, config) in scenario.filters_with(config)? {
            let report = Report::default();
            let mut metrics = Metrics::default();
            let text = if config.is_null() {
                String::new()
            } else {
                config.to_string()
            };
            let env = |name: &str| scenario.env.get(name).cloned();
            let gateway = config::parse(&text, &report).and_then(|root| {
                tollgate_gateway::compile(&root_id, &root, &report, &env, &mut metrics)
            });
            match gateway {
                Some(gateway) if report.is_ok() => {
                    plugins.push(Plugin {
                        gateway,
                        metrics,
                        world: TestWorld::at(unix(self.now)),
                    });
                }
                _ => {
                    let said: Vec<String> =
                        report.errors().iter().map(ToString::to_string).collect();
                    return Ok(Err(Refusal(said.join("\n"))));
                }
            }
        }
        Ok(Ok(plugins))
    }

    fn run(&self, request: &Request, headers: &Lines, answer: &Answer) -> Result<Observed, Broken> {
        let mut seen = Observed::default();
        let mut lines = request_lines(request, headers);
        let mut state: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
        let mut sides: Vec<Side<'_>> = Vec::new();
        let mut reply = None;
        let mut new_body = None;
        for plugin in &self.plugins {
            plugin.world.clear_attributes();
            plugin
                .world
                .set_attribute(Attribute::SourceAddress, self.source(request, headers));
            let size = request.whole_body().len().to_string();
            plugin.world.set_attribute(Attribute::RequestSize, size);
            for (name, value) in &state {
                plugin
                    .world
                    .set_attribute(Attribute::FilterState(name), Vec::clone(value));
            }
            let bodyless =
                request.body.is_empty() && request.trailers.is_empty() && !request.chunked;
            let exchange = Exchange::new(wire(&lines), bodyless)
                .publishing(plugin.gateway.filter_state.clone());
            let mut side = Side {
                plugin,
                drive: Drive::default(),
                exchange,
            };
            let step = self.request(&mut side, request, &mut seen)?;
            lines = side
                .exchange
                .request
                .iter()
                .map(|(n, v)| (n.to_vec(), v.to_vec()))
                .collect();
            new_body = side.exchange.new_body.take().or(new_body);
            publish(&mut side.exchange, &mut state);
            sides.push(side);
            match step {
                Step::Forward => {}
                Step::Reply(local) => {
                    reply = Some(*local);
                    break;
                }
                // The client went away while the request was held.
                Step::Hold if request.abort => return Ok(self.end(sides, seen, state)),
                Step::Hold => return Err("the request is held for ever".to_owned()),
            }
        }
        seen.reply = match reply {
            Some(local) => {
                seen.details = Some(local.details.as_bytes().to_vec());
                local_reply(&local)
            }
            None if request.abort => return Ok(self.end(sides, seen, state)),
            None => {
                let mut upstream = upstream_request(request, &lines);
                if let Some(body) = new_body {
                    upstream.body = body;
                }
                seen.upstream_bytes = 1;
                seen.upstream.push(upstream);
                seen.details = Some(b"via_upstream".to_vec());
                upstream_reply(answer)
            }
        };
        for side in sides.iter_mut().rev() {
            response(side, &mut seen.reply, answer, &mut state);
        }
        Ok(self.end(sides, seen, state))
    }

    /// One plugin's request phases, calls included.
    fn request(
        &self,
        side: &mut Side<'_>,
        request: &Request,
        seen: &mut Observed,
    ) -> Result<Step, Broken> {
        let Side {
            plugin,
            drive,
            exchange,
        } = side;
        let chain = &plugin.gateway.chain;
        let mut body: Vec<u8> = Vec::new();
        let mut step = drive.request_headers(chain, exchange, &plugin.world);
        step = self.calls(step, drive, exchange, plugin, &body, seen)?;
        let mut events: Vec<(Option<&[u8]>, bool)> = request
            .body
            .iter()
            .filter_map(Chunk::data)
            .map(|c| (Some(c), false))
            .collect();
        if !request.abort {
            events.push((None, true));
        }
        for (chunk, end) in events {
            if step != Step::Hold {
                break;
            }
            body.extend_from_slice(chunk.unwrap_or_default());
            let trailers = end && !request.trailers.is_empty();
            step = if trailers {
                drive.request_trailers(chain, exchange, &plugin.world, body.as_slice())
            } else {
                drive.request_body(
                    chain,
                    exchange,
                    &plugin.world,
                    body.as_slice(),
                    body.len(),
                    end,
                )
            };
            step = self.calls(step, drive, exchange, plugin, &body, seen)?;
        }
        Ok(step)
    }

    /// Answers calls until none is under way.
    fn calls(
        &self,
        mut step: Step,
        drive: &mut Drive<Chain>,
        exchange: &mut Exchange,
        plugin: &Plugin,
        body: &[u8],
        seen: &mut Observed,
    ) -> Result<Step, Broken> {
        for _ in 0..16 {
            self.background(plugin)?;
            if step == Step::Hold && drive.waits_for_wake() {
                step = drive.wake(&plugin.gateway.chain, exchange, &plugin.world, body);
                continue;
            }
            let calls = plugin.world.take_calls();
            let Some(call) = calls.first().filter(|_| step == Step::Hold) else {
                return Ok(step);
            };
            let answer = match call {
                Call::Grpc { .. } => {
                    return Err(
                        "no gRPC service natively: the scenario is for `engines: [envoy]`"
                            .to_owned(),
                    );
                }
                Call::Http { .. } => {
                    seen.calls += 1;
                    let answer = self.call.clone().unwrap_or_default();
                    CallAnswer::Http {
                        status: answer.status,
                        body: model::whole(&answer.body),
                    }
                }
            };
            step = drive.call_answer(
                &plugin.gateway.chain,
                exchange,
                &plugin.world,
                &answer,
                body,
            );
        }
        Err("more than 16 calls and wake-ups for one request".to_owned())
    }

    /// Answers background calls, as a proxy does between callbacks.
    fn background(&self, plugin: &Plugin) -> Result<(), Broken> {
        for _ in 0..16 {
            let sent = plugin.world.take_background();
            if sent.is_empty() {
                return Ok(());
            }
            for (id, call) in sent {
                self.answer_background(plugin, id, &call)?;
            }
        }
        Err("background calls without end".to_owned())
    }

    fn answer_background(&self, plugin: &Plugin, id: CallId, call: &Call) -> Result<(), Broken> {
        let Call::Http { cluster, .. } = call else {
            return Err(
                "no gRPC service natively: the scenario is for `engines: [envoy]`".to_owned(),
            );
        };
        let reply = match cluster.as_str() {
            "stable" | "canary" => {
                let answer = self.call.clone().unwrap_or_default();
                TestReply {
                    outcome: Outcome::Http(answer.status),
                    headers: model::lines(&answer.headers)
                        .into_iter()
                        .map(|(n, v)| (String::from_utf8_lossy(&n).to_ascii_lowercase(), v))
                        .collect(),
                    body: model::whole(&answer.body),
                }
            }
            "dead" => TestReply::new(Outcome::Http(503), ""),
            _ => TestReply::new(Outcome::Refused, ""),
        };
        plugin
            .gateway
            .chain
            .on_background_reply(&plugin.world, id, &reply);
        Ok(())
    }

    /// `source.address` as Envoy has it with `use_remote_address: true`.
    fn source(&self, request: &Request, headers: &Lines) -> String {
        let peer = request
            .client
            .clone()
            .unwrap_or_else(|| "127.0.0.1".to_owned());
        let hops = self.trusted_hops.unwrap_or(0) as usize;
        let forwarded: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"x-forwarded-for"))
            .flat_map(|(_, value)| {
                String::from_utf8_lossy(value)
                    .split(',')
                    .map(|a| a.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .collect();
        let address = match hops
            .checked_sub(1)
            .and_then(|back| forwarded.len().checked_sub(back + 1))
        {
            Some(at) => forwarded.get(at).cloned().unwrap_or(peer),
            None => peer,
        };
        if address.contains(':') {
            format!("[{address}]:40000")
        } else {
            format!("{address}:40000")
        }
    }

    fn end(
        &self,
        mut sides: Vec<Side<'_>>,
        mut seen: Observed,
        mut state: BTreeMap<&'static str, Vec<u8>>,
    ) -> Observed {
        // Wherever it stands: Envoy, too, finds it in either when the log is written.
        let lines = seen.reply.trailers.iter().chain(&seen.reply.headers);
        let grpc = lines.clone().find(|(name, _)| name == b"grpc-status");
        for side in &mut sides {
            if let Some((_, status)) = grpc {
                let attribute = Attribute::GrpcStatus;
                side.plugin.world.set_attribute(attribute, status.clone());
            }
            side.drive.log(
                &side.plugin.gateway.chain,
                &mut side.exchange,
                &side.plugin.world,
            );
            publish(&mut side.exchange, &mut state);
        }
        seen.state = state
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        seen
    }
}

/// One plugin's response phases. The whole answer passes each plugin before the next one sees it.
fn response(
    side: &mut Side<'_>,
    reply: &mut Reply,
    answer: &Answer,
    state: &mut BTreeMap<&'static str, Vec<u8>>,
) {
    let Side {
        plugin,
        drive,
        exchange,
    } = side;
    let chain = &plugin.gateway.chain;
    let local = exchange.replied.is_some();
    let reads = drive.reads_response(chain);
    if reads >= ResponseRead::Status {
        exchange.status = Some(reply.status);
    }
    if reads == ResponseRead::Headers {
        let mut lines = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
        lines.extend(reply.headers.clone());
        exchange.response = wire(&lines);
    }
    let chunks: Vec<Vec<u8>> = if local {
        vec![reply.body.clone()]
    } else {
        answer
            .body
            .iter()
            .filter_map(Chunk::data)
            .map(<[u8]>::to_vec)
            .collect()
    };
    let end = reply.body.is_empty() && reply.trailers.is_empty();
    let mut step = drive.response_headers(chain, exchange, &plugin.world, end);
    let mut held = step == ResponseStep::Hold;
    let mut change = |exchange: &mut Exchange, held: bool, first: bool| {
        let ops = exchange.response.take_ops();
        if held || first {
            apply(&mut reply.headers, ops);
        }
    };
    change(exchange, held, true);
    let mut buffer = Vec::new();
    if drive.watches_response() {
        exchange.response_trailers = Headers::from_pairs(
            reply
                .trailers
                .iter()
                .map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), v)),
        );
    }
    let last = chunks.len();
    for (i, chunk) in chunks
        .iter()
        .chain(std::iter::once(&Vec::new()))
        .enumerate()
    {
        if step == ResponseStep::Forward || (i == last && !reply_complete(answer, local)) {
            break;
        }
        if held {
            buffer.extend_from_slice(chunk);
        } else {
            buffer.clone_from(chunk);
        }
        step = drive.response_body(
            chain,
            exchange,
            &plugin.world,
            buffer.as_slice(),
            buffer.len(),
            i == last,
        );
        change(exchange, held, false);
        held &= step == ResponseStep::Hold;
    }
    apply(&mut reply.trailers, exchange.response_trailers.take_ops());
    publish(exchange, state);
}

/// An upstream that breaks off never says "end of stream".
fn reply_complete(answer: &Answer, local: bool) -> bool {
    local
        || !answer
            .body
            .iter()
            .any(|chunk| matches!(chunk, Chunk::Cut { .. }))
}

fn apply(lines: &mut Lines, ops: Vec<HeaderOp>) {
    for op in ops {
        let name = op.name().as_str().as_bytes().to_vec();
        if !matches!(op, HeaderOp::Append(..)) {
            lines.retain(|(n, _)| *n != name);
        }
        if let HeaderOp::Set(_, value) | HeaderOp::Append(_, value) = op {
            lines.push((name, value));
        }
    }
}

fn publish(exchange: &mut Exchange, state: &mut BTreeMap<&'static str, Vec<u8>>) {
    state.extend(exchange.facts.take_published());
}

fn unix(now: Instant) -> UnixNanos {
    UnixNanos(u64::try_from(now.0).unwrap_or(0))
}

fn wire(lines: &Lines) -> Headers {
    // Through the wire form, so that names and values stay bytes and the parser is the proxy's.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = number(lines.len()).to_vec();
    for (name, value) in lines {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for (name, value) in lines {
        bytes.extend(name.to_ascii_lowercase());
        bytes.push(0);
        bytes.extend(value);
        bytes.push(0);
    }
    Headers::from_wire(bytes).unwrap_or_default()
}

/// The request headers as a filter sees them: Envoy trims values and joins the lines of its inline headers.
fn request_lines(request: &Request, headers: &Lines) -> Lines {
    let mut lines: Lines = vec![
        (b":authority".to_vec(), request.authority.0.clone()),
        (b":path".to_vec(), request.path.0.clone()),
        (b":method".to_vec(), request.method.clone().into_bytes()),
        (b":scheme".to_vec(), b"http".to_vec()),
    ];
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let value = value.trim_ascii().to_vec();
        const INLINE: [&[u8]; 5] = [
            b"authorization",
            b"accept",
            b"content-type",
            b"user-agent",
            b"x-forwarded-for",
        ];
        let joins = INLINE.contains(&name.as_slice());
        match lines.iter_mut().find(|(n, _)| joins && *n == name) {
            Some((_, first)) => {
                first.push(b',');
                first.extend(value);
            }
            None => lines.push((name, value)),
        }
    }
    if !request.chunked && !request.body.is_empty() && request.http == 1 {
        let length = request.whole_body().len().to_string().into_bytes();
        lines.push((b"content-length".to_vec(), length));
    }
    lines
}

fn upstream_request(request: &Request, lines: &Lines) -> Seen {
    let pseudo = |name: &[u8]| {
        lines
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .unwrap_or_default()
    };
    let headers: Lines = lines
        .iter()
        .filter(|(n, _)| !n.starts_with(b":"))
        .cloned()
        .collect();
    Seen {
        name: upstream_for(&headers).to_owned(),
        method: pseudo(b":method"),
        path: pseudo(b":path"),
        headers,
        body: request.whole_body(),
        trailers: model::lines(&request.trailers),
        complete: true,
    }
}

fn upstream_reply(answer: &Answer) -> Reply {
    let lower = |lines: Lines| {
        lines
            .into_iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), v))
            .collect()
    };
    let mut headers: Lines = lower(model::lines(&answer.headers));
    let framed = headers.iter().any(|(n, _)| n == b"content-length");
    if !answer.chunked && answer.trailers.is_empty() && !framed && reply_complete(answer, false) {
        headers.push((
            b"content-length".to_vec(),
            model::whole(&answer.body).len().to_string().into_bytes(),
        ));
    }
    Reply {
        status: answer.status,
        headers,
        body: model::whole(&answer.body),
        trailers: lower(model::lines(&answer.trailers)),
        complete: reply_complete(answer, false),
    }
}

fn local_reply(local: &LocalReply) -> Reply {
    Reply {
        status: local.status,
        headers: local
            .headers
            .iter()
            .map(|(n, v)| (n.as_bytes().to_ascii_lowercase(), v.clone()))
            .collect(),
        body: local.body.clone(),
        trailers: Lines::new(),
        complete: true,
    }
}

/// Counters and gauges of a plugin. Gauges of a replaced configuration show nothing any more.
fn numbers(plugin: &Plugin, gauges: bool) -> Vec<Metric> {
    let numbers = plugin.world.numbers();
    let shown = |kind| kind == MetricKind::Counter || kind == MetricKind::Gauge && gauges;
    let metric = |(at, metric): (usize, &tollgate_core::metrics::Metric)| {
        let value = *numbers.get(&at)?;
        shown(metric.kind).then(|| Metric {
            name: metric.name.clone(),
            labels: metric.labels.iter().cloned().collect(),
            value: i64::try_from(value).unwrap_or(i64::MAX),
        })
    };
    plugin
        .metrics
        .iter()
        .enumerate()
        .filter_map(metric)
        .collect()
}

impl Engine for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Native
    }

    fn set_clock(&mut self, now: Instant, _frozen: bool) -> Result<(), Broken> {
        self.now = now;
        self.settled = false;
        for plugin in &self.plugins {
            plugin.world.set_now(unix(now));
        }
        Ok(())
    }

    fn start(&mut self, scenario: &Scenario) -> Result<Result<(), Refusal>, Broken> {
        let now = self.now;
        *self = Self {
            now,
            trusted_hops: scenario.listener.trusted_hops,
            ..Self::default()
        };
        let built = self.build(scenario, &scenario.config)?;
        Ok(built.map(|plugins| {
            for plugin in &plugins {
                plugin.gateway.chain.on_start(&plugin.world);
            }
            self.plugins = plugins;
        }))
    }

    fn configure(
        &mut self,
        scenario: &Scenario,
        config: &Value,
    ) -> Result<Result<(), Refusal>, Broken> {
        let built = self.build(scenario, config)?;
        Ok(built.map(|mut plugins| {
            // Shared data outlives a configuration; counters do, too.
            for (new, old) in plugins.iter_mut().zip(self.plugins.drain(..)) {
                self.retired.extend(numbers(&old, false));
                new.world = old.world;
                new.world.clear_numbers();
                new.gateway.chain.on_start(&new.world);
            }
            self.plugins = plugins;
        }))
    }

    fn services(&mut self, services: &Services) -> Result<(), Broken> {
        if let Some(call) = &services.call {
            self.call = Some(call.clone());
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        request: &Request,
        headers: &Lines,
        answer: &Answer,
        _: &Wanted,
    ) -> Result<Observed, Broken> {
        self.settled = false;
        self.run(request, headers, answer)
    }

    fn metrics(&mut self) -> Result<Vec<Metric>, Broken> {
        let mut all = self.retired.clone();
        all.extend(self.plugins.iter().flat_map(|p| numbers(p, true)));
        Ok(all)
    }

    fn log(&mut self) -> Result<Vec<String>, Broken> {
        let line = |(level, text): (Level, String)| format!("{level:?}: tollgate: {text}");
        Ok(self
            .plugins
            .iter()
            .flat_map(|p| p.world.take_logs())
            .map(line)
            .collect())
    }

    fn settle(&mut self) -> bool {
        if std::mem::replace(&mut self.settled, true) {
            return false;
        }
        for plugin in &self.plugins {
            plugin.gateway.chain.on_tick(&plugin.world);
            // An error is one of the next exchange's, too.
            let _ = self.background(plugin);
        }
        true
    }

    fn finish(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}
