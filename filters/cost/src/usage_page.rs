//! What a consumer has spent and has left, for itself to see.

use crate::meters::Reason;
use crate::policy::Cost;
use crate::replies;
use std::borrow::Cow;
use tollgate_core::flow::GrpcStatus;
use tollgate_core::problem::push_string;
use tollgate_core::{Exchange, Flow, LocalReply, World};

impl Cost {
    /// Answers `GET /.tollgate/usage`, or whatever path is configured.
    #[inline(never)]
    pub(crate) fn usage_page(&self, exchange: &mut Exchange, world: &dyn World) -> Flow {
        if !matches!(exchange.method(), b"GET" | b"HEAD") {
            self.count(Reason::UsageMethod, world);
            return replies::method_not_allowed().into();
        }
        let Some(consumer) = exchange.consumer(world) else {
            self.count(Reason::ConsumerMissing, world);
            return replies::consumer_missing().into();
        };
        let mut json = String::from("{\"consumer\":");
        push_string(&mut json, &consumer.id);
        json.push_str(",\"currency\":");
        push_string(&mut json, &self.currency);
        json.push_str(",\"budgets\":[");
        let mut first = true;
        for part in self.budgets.parts(Some(consumer), world.now()) {
            let account = self.accounts.read(part.key(), &self.meters, world);
            for line in &part.lines {
                let Some((_, budget, period)) = self.budgets.find(line) else {
                    continue;
                };
                let (spent, reserved) = account.spent_and_reserved(line);
                let left = line.limit.saturating_sub(account.taken(line));
                let mode = if budget.soft { "soft" } else { "hard" };
                if !std::mem::replace(&mut first, false) {
                    json.push(',');
                }
                json.push('{');
                for (name, value) in [
                    ("budget", &*budget.name),
                    ("period", period.name()),
                    ("mode", mode),
                    ("limit", &line.limit.to_string()),
                    ("spent", &spent.to_string()),
                    ("reserved", &reserved.to_string()),
                    ("remaining", &left.to_string()),
                    ("resets_at", &line.window.end.to_string()),
                ] {
                    if !json.ends_with('{') {
                        json.push(',');
                    }
                    push_string(&mut json, name);
                    json.push(':');
                    push_string(&mut json, value);
                }
                json.push('}');
            }
        }
        json.push_str("]}");
        self.count(Reason::UsagePage, world);
        let reply = LocalReply {
            status: 200,
            headers: vec![
                (Cow::Borrowed("content-type"), b"application/json".to_vec()),
                (Cow::Borrowed("cache-control"), b"no-store".to_vec()),
            ],
            body: json.into_bytes(),
            details: Cow::Borrowed("tollgate_cost_usage"),
            grpc: GrpcStatus(0),
            message: String::from("usage"),
        };
        reply.into()
    }
}
