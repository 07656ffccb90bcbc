//! What calls get for an answer: those that hold a request, and those that belong to none.

use tollgate_core::drive::{Drive, Step};
use tollgate_core::testing::TestReply;
use tollgate_core::world::{Call, CallAnswer, CallId, Outcome};
use tollgate_core::{Exchange, Policy};
use tollgate_gateway::Chain;

use super::{Native, Plugin};
use crate::engine::{Broken, Observed};
use crate::model;

/// More rounds of calls, wake-ups or replies than this have no end.
const MOST: usize = 16;

impl Native {
    /// Answers calls and wakes the request until nothing is under way.
    pub(super) fn calls(
        &self,
        mut step: Step,
        drive: &mut Drive<Chain>,
        exchange: &mut Exchange,
        plugin: &Plugin,
        body: &[u8],
        seen: &mut Observed,
    ) -> Result<Step, Broken> {
        for _ in 0..MOST {
            self.background(plugin)?;
            if step == Step::Hold && drive.waits_for_wake() {
                step = drive.wake(&plugin.gateway.chain, exchange, &plugin.world, body);
                if step == Step::Hold && drive.waits_for_wake() {
                    // No reply brought it. The proxy ticks every 10 ms while somebody waits.
                    plugin.gateway.chain.on_tick(&plugin.world);
                }
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
        Err(format!(
            "more than {MOST} calls and wake-ups for one request"
        ))
    }

    /// Answers background calls, as a proxy does between callbacks.
    pub(super) fn background(&self, plugin: &Plugin) -> Result<(), Broken> {
        for _ in 0..MOST {
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
}
