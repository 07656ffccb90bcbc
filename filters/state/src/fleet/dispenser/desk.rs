//! Those who wait for one key's answer, in the order in which they came.

use super::{Failure, Quota, Shown};
use crate::fleet::name::Namer;
use crate::gcra::{Bucket, Tat};
use std::collections::{BTreeMap, VecDeque};

/// What one of them takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) hits: u64,
    pub(super) bucket: Option<(Bucket, Tat)>,
}

/// What was decided about one of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Admitted { end: u64, shown: Shown },
    Refused { wait: u64, shown: Shown },
    Failed(Failure),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    namer: Namer,
    parts: Vec<u8>,
    pub(super) quota: Quota,
    line: VecDeque<(u64, Cost)>,
    verdicts: BTreeMap<u64, Verdict>,
    /// A question for them is under way.
    pub(super) under_way: bool,
}

impl Desk {
    pub(super) fn new(namer: Namer, parts: &[u8], quota: &Quota) -> Self {
        Self {
            namer,
            parts: parts.to_vec(),
            quota: *quota,
            line: VecDeque::new(),
            verdicts: BTreeMap::new(),
            under_way: false,
        }
    }

    pub(super) fn name(&self, label: Option<u64>) -> String {
        self.namer.name(label, &self.parts)
    }

    pub(super) fn join(&mut self, id: u64, quota: &Quota) {
        self.quota = *quota;
        let cost = Cost {
            hits: quota.cost,
            bucket: quota.bucket,
        };
        self.line.push_back((id, cost));
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    pub(super) fn held(&self) -> u64 {
        self.line
            .iter()
            .fold(0, |sum, (_, cost)| sum.saturating_add(cost.hits))
    }

    pub(super) fn costs(&self) -> Vec<Cost> {
        self.line.iter().map(|(_, cost)| *cost).collect()
    }

    /// Decides about the first of them.
    pub(super) fn settle(&mut self, first: usize, verdict: Verdict) {
        for (id, _) in self.line.drain(..first.min(self.line.len())) {
            self.verdicts.insert(id, verdict);
        }
    }

    pub(super) fn settle_all(&mut self, verdict: Verdict) {
        self.settle(usize::MAX, verdict);
    }

    /// Takes the verdict.
    pub(super) fn verdict(&mut self, id: u64) -> Option<Verdict> {
        self.verdicts.remove(&id)
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.line.retain(|(waiting, _)| *waiting != id);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.line.is_empty() && self.verdicts.is_empty() && !self.under_way
    }
}
