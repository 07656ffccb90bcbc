//! How a call begins: priced by what the configuration says of its headers, or after a closer look at its request; then it
//! is charged, and the fleet is paid.

use crate::call::Candidates;
use crate::meters::Reason;
use crate::policy::{Cost, Phase, Stream};
use crate::request::Asked;
use tollgate_core::{Exchange, Flow, World};

impl Cost {
    /// Prices a request of which nothing but its headers' match has to be known. Whether it is one.
    #[inline(always)] // where nearly every request goes through; the other way is for those with a body
    pub(crate) fn knows_price(&self, candidates: &Candidates, stream: &mut Stream) -> bool {
        let Candidates::One(at) = *candidates else {
            return false;
        };
        let Some(price) = self.prices.get(at).filter(|p| p.at_once) else {
            return false;
        };
        let call = &mut stream.call;
        (call.costliest, call.estimate, call.needs) = (at, price.estimate, price.needs);
        true
    }

    /// Prices any other request, once its body was read, if it has to be. `None`: it is priced. Else what becomes of it.
    #[inline(never)]
    pub(crate) fn look_closer(
        &self,
        stream: &mut Stream,
        candidates: Candidates,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Option<Flow> {
        let Some(may_change) = self.reads_request(candidates.as_slice(), exchange) else {
            return self.find_price(stream, candidates, None, exchange, world);
        };
        Some(match self.ask(candidates, may_change, exchange, world) {
            Ok(asking) => {
                stream.phase = Phase::Asking;
                stream.call.details_mut().asking = Some(Box::new(asking));
                Flow::HoldForBody
            }
            Err(refusal) => refusal,
        })
    }

    /// A piece of the body. After the last one the request is priced by what it asks for, and begins.
    #[inline(never)]
    pub(crate) fn ask_on(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
        piece: &[u8],
        end: bool,
    ) -> Flow {
        let asking = &mut stream.call.details_mut().asking;
        if let Some(asking) = asking {
            asking.feed(piece);
        }
        if !end {
            return Flow::HoldForBody;
        }
        stream.phase = Phase::Nothing;
        let Some(asking) = asking.take() else {
            return Flow::Continue;
        };
        let found = match self.asked(*asking, exchange, world) {
            Ok((candidates, asked)) => {
                let asked = Some(Box::new(asked));
                self.find_price(stream, candidates, asked, exchange, world)
            }
            Err(refusal) => Some(refusal),
        };
        found.unwrap_or_else(|| self.begin(stream, exchange, world))
    }

    fn find_price(
        &self,
        stream: &mut Stream,
        candidates: Candidates,
        asked: Option<Box<Asked>>,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Option<Flow> {
        match self.price(candidates, asked, exchange, world) {
            Ok(Some(call)) => {
                stream.call = call;
                None
            }
            Ok(None) => {
                self.count(Reason::Unpriced, world);
                Some(Flow::Continue)
            }
            Err(refusal) => Some(refusal),
        }
    }

    /// Charges budgets and pays the fleet for a call that was priced.
    #[inline(always)] // as above
    pub(crate) fn begin(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        if let Err(refusal) = self.admit(&mut stream.call, exchange, world) {
            return refusal;
        }
        if self.shared.is_some() || stream.call.needs.usage {
            return self.go_on(stream, exchange, world);
        }
        stream.phase = Phase::Priced;
        Flow::Continue
    }

    /// Pays the fleet, and asks the upstream for an answer that can be read.
    #[inline(never)]
    pub(crate) fn go_on(
        &self,
        stream: &mut Stream,
        exchange: &mut Exchange,
        world: &dyn World,
    ) -> Flow {
        stream.phase = Phase::Nothing;
        if let Some(shared) = &self.shared {
            match self.pay(shared, &mut stream.call, exchange, world) {
                Ok(true) => {}
                Ok(false) => {
                    stream.phase = Phase::Paying;
                    return Flow::HoldForWake;
                }
                Err(refusal) => return refusal,
            }
        }
        // Usage cannot be read out of a compressed answer.
        if stream.call.needs.usage
            && exchange.request.sole("accept-encoding") != Ok(Some(b"identity"))
        {
            exchange.request.set(&self.accept_encoding, "identity");
        }
        stream.phase = Phase::Priced;
        Flow::Continue
    }
}
