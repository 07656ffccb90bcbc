//! One exchange: through every plugin to the upstream and back.

use std::collections::BTreeMap;

use tollgate_core::Exchange;
use tollgate_core::drive::{Drive, Step};
use tollgate_core::world::Attribute;
use tollgate_gateway::Chain;

use super::lines::{local_reply, request_lines, upstream_reply, upstream_request, wire};
use super::response::response;
use super::{Native, Plugin};
use crate::engine::{Broken, Observed};
use crate::model::{Answer, Chunk, Lines, Request};

/// The plugins' sides of one exchange.
pub(super) struct Side<'a> {
    pub(super) plugin: &'a Plugin,
    pub(super) drive: Drive<Chain>,
    pub(super) exchange: Exchange,
}

impl Native {
    pub(super) fn run(
        &self,
        request: &Request,
        headers: &Lines,
        answer: &Answer,
    ) -> Result<Observed, Broken> {
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
            let exchange =
                Exchange::new(wire(&lines), bodyless).publishing(plugin.gateway.filter_state);
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

pub(super) fn publish(exchange: &mut Exchange, state: &mut BTreeMap<&'static str, Vec<u8>>) {
    state.extend(exchange.facts.take_published());
}
