//! What an exchange remembers of a delivery that is let through once.

use crate::WebhookStream;
use crate::check::Verified;
use crate::fault::Fault;
use crate::once;
use crate::rule::Rule;
use std::rc::Rc;
use tollgate_core::World;
use tollgate_state::fleet::once::Visit;
use tollgate_state::replay::{Claim, Ticket};

/// A delivery that is under way.
pub(crate) struct Claimed {
    pub(crate) rule: Rc<Rule>,
    ticket: Ticket,
    /// The same, where the fleet is asked; and whether it has said that it is the first.
    visit: Option<(Visit, bool)>,
}

/// Lets each delivery through once, where the rule asks for that.
pub(crate) fn claim(
    rule: &Rc<Rule>,
    verified: &Verified,
    stream: &mut WebhookStream,
    world: &dyn World,
) -> Result<Option<once::Next>, Fault> {
    let Some(replay) = &rule.replay else {
        return Ok(None);
    };
    let fault = match replay.claim(&verified.identity, &rule.meters, world) {
        Claim::First(ticket) => {
            let claimed = stream.claim.insert(Box::new(Claimed {
                rule: Rc::clone(rule),
                ticket,
                visit: None,
            }));
            let Some(once) = &replay.once else {
                return Ok(None);
            };
            let (visit, next) = once.begin(
                &replay.delivery(&verified.identity),
                verified.signed_at,
                world,
            );
            claimed.visit = Some((visit, false));
            return Ok(Some(next));
        }
        Claim::Delivered => Fault::Delivered,
        Claim::InFlight => Fault::InFlight,
        Claim::Full | Claim::Contended if replay.full_refuses => Fault::ReplayFull,
        Claim::Full | Claim::Contended => return Ok(None),
    };
    if rule.report { Ok(None) } else { Err(fault) }
}

impl WebhookStream {
    pub(crate) fn visit(&mut self) -> Option<&mut (Visit, bool)> {
        self.claim.as_mut()?.visit.as_mut()
    }

    pub(crate) fn forget_visit(&mut self) {
        if let Some(claimed) = &mut self.claim {
            claimed.visit = None;
        }
    }
}

/// Tells the replay guard how a delivery ended; does nothing the second time.
pub(crate) fn end_claim(stream: &mut WebhookStream, delivered: bool, world: &dyn World) {
    if let Some(claimed) = stream.claim.take() {
        claimed.end(delivered, world);
    }
}

impl Claimed {
    #[inline(never)]
    fn end(self, delivered: bool, world: &dyn World) {
        let Self {
            rule,
            ticket,
            visit,
        } = self;
        if let Some(replay) = &rule.replay {
            replay.end(ticket, delivered, &rule.meters, world);
            if let (Some(once), Some((visit, true))) = (&replay.once, visit) {
                once.end(&visit, delivered, world);
            }
        }
    }
}
