//! What a consumer has spent and reserved: one small record that holds all its budgets, so that
//! charging several of them is one compare-and-set, and all or nothing.
//!
//! ```text
//! magic "TGBU" | version u8 | count u8 | count times: tag, start, end, spent, reserved (u64 each, little endian)
//! ```
//! Amounts are picounits, instants nanoseconds since 1970. A record that does not read like this belongs to another
//! version (or to somebody else); it is discarded, never guessed at.
//!
//! The arithmetic is pure; who loads and stores the bytes decides about retries.

use crate::window::Window;
use tollgate_core::{Money, UnixNanos};

/// Lines a record keeps at most; a consumer's configured ones are always among them.
pub const MAX_LINES: usize = 64;

const MAGIC: [u8; 4] = *b"TGBU";
const VERSION: u8 = 1;
const LINE_BYTES: usize = 40;

/// Which budget a line is about, the same after a reload: FNV-1a of its name and period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// The tag of a budget's period. Two names could share one in theory, so configurations are
    /// checked for it.
    #[must_use]
    pub fn new(budget: &str, period: crate::window::Period) -> Self {
        // FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
        let bytes = budget.bytes().chain([0]).chain(period.name().bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

/// A budget as it applies to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which one.
    pub tag: Tag,
    /// The most that may be spent and reserved in the window.
    pub limit: Money,
    /// The limit is looked at, not kept: nothing is refused over it.
    pub soft: bool,
    /// The window that the request belongs to, by its beginning.
    pub window: Window,
}

/// What a request took from its budgets before it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Set aside until the true cost is known.
    Reserved(Money),
    /// Already spent: the cost was known. Needs settling only if it turns out otherwise.
    Spent(Money),
}

impl Charge {
    /// How much it is.
    #[must_use]
    pub fn amount(self) -> Money {
        match self {
            Self::Reserved(amount) | Self::Spent(amount) => amount,
        }
    }
}

/// A charge did not fit; nothing was taken from any budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Which of the lines passed in; of several that are used up, the one that resets last.
    pub line: usize,
    /// When it starts anew.
    pub resets_at: UnixNanos,
    /// What is left of it, less than was asked for.
    pub remaining: Money,
}

/// The bytes are not a record of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u64,
    start: u64,
    end: u64,
    spent: u64,
    reserved: u64,
}

impl Entry {
    fn new(line: &Line) -> Self {
        Self {
            tag: line.tag.0,
            start: line.window.start.0,
            end: line.window.end.0,
            spent: 0,
            reserved: 0,
        }
    }

    fn window(&self) -> Window {
        Window {
            start: UnixNanos(self.start),
            end: UnixNanos(self.end),
        }
    }

    fn side(&mut self, charge: Charge) -> &mut u64 {
        match charge {
            Charge::Reserved(_) => &mut self.reserved,
            Charge::Spent(_) => &mut self.spent,
        }
    }

    fn taken(&self) -> Money {
        Money::from_pico(self.spent).saturating_add(Money::from_pico(self.reserved))
    }

    /// Whether the entry's window counts for a request of the line's window. Normally they are the same. An entry
    /// one window ahead counts, too: clocks of two callbacks may straddle midnight, and going back would forget
    /// what was spent. One further ahead was written by a clock that was wrong, and must not lock anybody out.
    fn serves(&self, line: &Line) -> bool {
        let (start, end) = (line.window.start.0, line.window.end.0);
        start <= self.start && self.start <= end
    }
}

/// All budgets of one consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    entries: Vec<Entry>,
}

impl Account {
    /// Reads a record.
    ///
    /// # Errors
    /// [`Malformed`]: another version, size or owner.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(Malformed)?;
        let (&[version, count], body) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let count = usize::from(count);
        let (chunks, odd) = body.as_chunks::<LINE_BYTES>();
        if version != VERSION || chunks.len() != count || count > MAX_LINES || !odd.is_empty() {
            return Err(Malformed);
        }
        let entries = chunks.iter().map(decode_entry).collect();
        Ok(Self { entries })
    }

    /// Writes the record into `out`, which is cleared first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.reserve(
            self.entries
                .len()
                .saturating_mul(LINE_BYTES)
                .saturating_add(6),
        );
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        let kept = self.entries.get(..MAX_LINES).unwrap_or(&self.entries);
        out.push(u8::try_from(kept.len()).unwrap_or(0));
        for e in kept {
            for number in [e.tag, e.start, e.end, e.spent, e.reserved] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// Takes the charge from every line, or from none: afterwards spent + reserved is within the limit of each that is not
    /// soft. Lines
    /// are moved to the window that they were really charged in (clocks may straddle midnight); keep them for
    /// [`Account::settle`]. Returns the least that is left.
    ///
    /// # Errors
    /// [`Exhausted`] if it does not fit into one of them.
    pub fn charge(&mut self, lines: &mut [Line], charge: Charge) -> Result<Money, Exhausted> {
        let amount = charge.amount();
        let mut refused: Option<Exhausted> = None;
        for (at, line) in lines.iter_mut().enumerate() {
            let entry = self.entry(line);
            line.window = entry.window();
            let fits = line.soft
                || entry
                    .taken()
                    .checked_add(amount)
                    .is_some_and(|sum| sum <= line.limit);
            let resets_at = line.window.end;
            if !fits && refused.is_none_or(|r| r.resets_at < resets_at) {
                refused = Some(Exhausted {
                    line: at,
                    resets_at,
                    remaining: line.limit.saturating_sub(entry.taken()),
                });
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        self.forget_passed(lines);
        for line in lines.iter() {
            let mut entry = self.entry(line);
            let side = entry.side(charge);
            *side = side.saturating_add(amount.pico());
            self.put(entry);
        }
        Ok(self.remaining(lines))
    }

    /// Replaces what was charged by what the request really cost; this is the one place where a budget can be
    /// exceeded, by what a call cost beyond its estimate. `lines` are those that `charge` left. A line whose
    /// window has passed meanwhile is left alone: a request belongs to the window in which it began.
    /// Returns the least that is left.
    pub fn settle(&mut self, lines: &[Line], charge: Charge, cost: Money) -> Money {
        for line in lines {
            let passed = self
                .find(line)
                .is_some_and(|e| e.start != line.window.start.0);
            if passed {
                continue;
            }
            let mut entry = self.entry(line);
            let side = entry.side(charge);
            *side = side.saturating_sub(charge.amount().pico());
            entry.spent = entry.spent.saturating_add(cost.pico());
            self.put(entry);
        }
        self.remaining(lines)
    }

    /// The least that is left over all lines; without lines, everything.
    #[must_use]
    pub fn remaining(&self, lines: &[Line]) -> Money {
        lines
            .iter()
            .map(|line| line.limit.saturating_sub(self.entry(line).taken()))
            .min()
            .unwrap_or(Money::MAX)
    }

    /// What was spent and reserved of a line.
    #[must_use]
    pub fn taken(&self, line: &Line) -> Money {
        self.entry(line).taken()
    }

    /// What was spent of a line, and what is reserved.
    #[must_use]
    pub fn spent_and_reserved(&self, line: &Line) -> (Money, Money) {
        let entry = self.entry(line);
        (
            Money::from_pico(entry.spent),
            Money::from_pico(entry.reserved),
        )
    }

    fn find(&self, line: &Line) -> Option<&Entry> {
        self.entries.iter().find(|e| e.tag == line.tag.0)
    }

    /// The entry as it counts for the line: a fresh one if there is none or its window has passed.
    fn entry(&self, line: &Line) -> Entry {
        match self.find(line) {
            Some(entry) if entry.serves(line) => *entry,
            _ => Entry::new(line),
        }
    }

    fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|e| e.tag == entry.tag) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
    }

    /// Lines of budgets that are no longer configured leave when their window is over, or when
    /// there is no room for those that are, the oldest first.
    fn forget_passed(&mut self, lines: &[Line]) {
        let now = lines.iter().map(|l| l.window.start.0).max().unwrap_or(0);
        let wanted = |e: &Entry| lines.iter().any(|l| l.tag.0 == e.tag);
        self.entries.retain(|e| wanted(e) || e.end > now);
        let others = MAX_LINES.saturating_sub(lines.len());
        while self.entries.iter().filter(|e| !wanted(e)).count() > others {
            let strangers = self.entries.iter().enumerate().filter(|(_, e)| !wanted(e));
            let Some((oldest, _)) = strangers.min_by_key(|(_, e)| e.end) else {
                return;
            };
            self.entries.remove(oldest);
        }
    }
}

fn decode_entry(bytes: &[u8; LINE_BYTES]) -> Entry {
    let (words, _) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or(0);
    Entry {
        tag: next(),
        start: next(),
        end: next(),
        spent: next(),
        reserved: next(),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in a test an overflow is a finding
mod tests;
