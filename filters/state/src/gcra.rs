//! The token bucket as one number (GCRA, the generic cell rate algorithm).
//!
//! Instead of a token count and the time of its last change a bucket keeps the moment at which it would be full
//! again, its *theoretical arrival time* ([`Tat`]). A bucket whose time has passed is full, the same as one that was
//! never there. Taking `n` tokens moves the time by `n` emission intervals; what would move it further than the
//! bucket's whole content beyond now is refused. There is no refill, no timer and nothing to round per request.
//!
//! **Exactness.** The emission interval `fill_interval / tokens_per_fill` is a fraction of a nanosecond
//! in general (60 tokens per 7 s: 116,666,666 2/3 ns). It is kept as such: a time is whole nanoseconds and a
//! part in units of 1/q ns, where `q = tokens_per_fill / gcd(fill_interval, tokens_per_fill)`. For most buckets
//! q is 1 and there are no parts. Hence no drift: in any T nanoseconds exactly
//! `max_tokens + floor(T * tokens_per_fill / fill_interval)` tokens can be had at most, and somebody who
//! keeps asking gets all of them. Only what is *shown* is rounded: tokens down, waiting times up.
//!
//! **Clock.** A clock that steps back by `d` makes times lie `d` further ahead: a client waits up to `d` longer,
//! and nobody gets a token earlier. A time further ahead than any bucket allows is
//! proof of such a step, and is pulled back to "empty now" when it refuses ([`Verdict::Refused`]'s `healed`).

/// Buckets of one limit. More would not fit the record of [`crate::table`].
pub const MAX_BUCKETS: usize = 6;

/// How far the clocks of two workers of one proxy may differ before a time ahead counts as a step.
pub(crate) const CLOCK_SLACK: u64 = 1_000_000_000;

/// The most tokens that a bucket may hold or gain at once.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// The longest time, in nanoseconds, in which an empty bucket may become full: 10 years.
pub const MAX_DRAIN: u64 = 315_576_000_000_000_000;

/// A moment (nanoseconds since the epoch) or a span, exact: `ns + part/q`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tat {
    /// Whole nanoseconds.
    pub ns: u64,
    /// In units of 1/q nanoseconds, less than q.
    pub part: u32,
}

impl Tat {
    /// A whole number of nanoseconds.
    #[must_use]
    pub const fn at(ns: u64) -> Self {
        Self { ns, part: 0 }
    }

    /// In nanoseconds, rounded up.
    #[must_use]
    pub const fn ceil(self) -> u64 {
        self.ns.saturating_add((self.part > 0) as u64)
    }
}

/// Why a bucket cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// `max_tokens` is 0 or too large.
    MaxTokens,
    /// `tokens_per_fill` is 0 or too large.
    TokensPerFill,
    /// `fill_interval` is 0.
    FillInterval,
    /// It would take longer than [`MAX_DRAIN`] to become full.
    TooSlow,
}

/// A token bucket: holds `max_tokens`, gains `tokens_per_fill` evenly spread over each `fill_interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    max_tokens: u64,
    tokens_per_fill: u64,
    fill_interval: u64,
    /// The emission interval is p/q nanoseconds, in lowest terms.
    p: u64,
    q: u32,
    drain: Tat,
}

/// What was decided about some tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They were there.
    Taken {
        /// The bucket's new time.
        tat: Tat,
    },
    /// They were not.
    Refused {
        /// Nanoseconds after which the same number will be there, if nobody else takes any; rounded up.
        wait: u64,
        /// The time to go on with when the one given lies so far ahead that the clock must have stepped back.
        healed: Option<Tat>,
    },
}

/// What a bucket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whole tokens.
    pub remaining: u64,
    /// Nanoseconds until there is one more; 0 when the bucket is full.
    pub next: u64,
}

impl Bucket {
    /// `fill_interval` is in nanoseconds.
    ///
    /// # Errors
    /// [`Invalid`] where the bucket would never admit anything or times would not fit.
    pub fn new(max_tokens: u64, tokens_per_fill: u64, fill_interval: u64) -> Result<Self, Invalid> {
        if !(1..=MAX_TOKENS).contains(&max_tokens) {
            return Err(Invalid::MaxTokens);
        }
        if !(1..=MAX_TOKENS).contains(&tokens_per_fill) {
            return Err(Invalid::TokensPerFill);
        }
        let divisor = gcd(fill_interval, tokens_per_fill);
        let p = fill_interval.checked_div(divisor).unwrap_or(0);
        let q = tokens_per_fill.checked_div(divisor).unwrap_or(0);
        let q = u32::try_from(q).map_err(|_| Invalid::TokensPerFill)?;
        if p == 0 || q == 0 {
            return Err(Invalid::FillInterval);
        }
        let bucket = Self {
            max_tokens,
            tokens_per_fill,
            fill_interval,
            p,
            q,
            drain: span(p, q, max_tokens),
        };
        if bucket.drain.ns > MAX_DRAIN {
            return Err(Invalid::TooSlow);
        }
        Ok(bucket)
    }

    /// How many tokens a full bucket holds.
    #[must_use]
    pub fn max_tokens(&self) -> u64 {
        self.max_tokens
    }

    /// Tokens gained in each fill interval.
    #[must_use]
    pub fn tokens_per_fill(&self) -> u64 {
        self.tokens_per_fill
    }

    /// In nanoseconds.
    #[must_use]
    pub fn fill_interval(&self) -> u64 {
        self.fill_interval
    }

    /// Nanoseconds, rounded up, in which an empty bucket becomes full.
    #[must_use]
    pub fn drain(&self) -> u64 {
        self.drain.ceil()
    }

    /// Whether times of this bucket have parts of a nanosecond.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        self.q > 1
    }

    /// The time that `tokens` are worth, for [`Bucket::take`]. Saturates far above any bucket.
    #[must_use]
    pub fn span(&self, tokens: u64) -> Tat {
        span(self.p, self.q, tokens)
    }

    /// Takes tokens at `now` from a bucket with this time; `span` is [`Bucket::span`] of their number.
    #[must_use]
    pub fn take(&self, tat: Tat, now: u64, span: Tat) -> Verdict {
        let wanted = self.sum(self.normal(tat).max(Tat::at(now)), span);
        let most = self.sum(Tat::at(now), self.drain);
        if wanted <= most {
            return Verdict::Taken { tat: wanted };
        }
        let far = tat.ns > most.ns.saturating_add(CLOCK_SLACK);
        let (wanted, healed) = if far {
            (self.sum(most, span), Some(most))
        } else {
            (wanted, None)
        };
        // Exact, because the bucket's whole content is a constant: the answer turns to yes at wanted - drain.
        Verdict::Refused {
            wait: self.difference(wanted, most).ceil(),
            healed,
        }
    }

    /// The time after tokens were given back that had been taken `elapsed` nanoseconds ago. Never earlier than it
    /// would be without them: what the bucket gained since then is not given back, since it could not gain more had
    /// they not been taken from a full one.
    #[must_use]
    pub fn give_back(&self, tat: Tat, span: Tat, elapsed: u64) -> Tat {
        self.difference(self.normal(tat), self.difference(span, Tat::at(elapsed)))
    }

    /// What the bucket holds at `now`.
    #[must_use]
    pub fn read(&self, tat: Tat, now: u64) -> Reading {
        if self.has_parts() {
            self.read_parts(tat, now)
        } else {
            self.read_whole(tat.ceil(), now)
        }
    }

    /// [`Bucket::read`] of a bucket whose times are whole nanoseconds.
    pub(crate) fn read_whole(&self, tat: u64, now: u64) -> Reading {
        let most = now.saturating_add(self.drain.ns);
        let level = most.saturating_sub(tat.max(now));
        let remaining = level.checked_div(self.p).unwrap_or(0);
        if remaining >= self.max_tokens {
            return Reading {
                remaining: self.max_tokens,
                next: 0,
            };
        }
        // At most the level, so nothing wraps.
        let rest = level.wrapping_sub(remaining.wrapping_mul(self.p));
        Reading {
            remaining,
            next: self.p.saturating_sub(rest),
        }
    }

    #[inline(never)]
    fn read_parts(&self, tat: Tat, now: u64) -> Reading {
        let most = self.sum(Tat::at(now), self.drain);
        let tat = self.normal(tat).max(Tat::at(now));
        let level = self.difference(most, tat);
        let (p, q) = (u128::from(self.p), u128::from(self.q));
        let level = u128::from(level.ns)
            .saturating_mul(q)
            .saturating_add(u128::from(level.part));
        let tokens = level.checked_div(p).unwrap_or(0);
        let rest = level.checked_rem(p).unwrap_or(0);
        let remaining = u64::try_from(tokens)
            .unwrap_or(u64::MAX)
            .min(self.max_tokens);
        let next = if remaining == self.max_tokens {
            0
        } else {
            u64::try_from(p.saturating_sub(rest).div_ceil(q)).unwrap_or(u64::MAX)
        };
        Reading { remaining, next }
    }

    pub(crate) fn sum(&self, a: Tat, b: Tat) -> Tat {
        let parts = u64::from(a.part).saturating_add(u64::from(b.part));
        let q = u64::from(self.q);
        let (carry, part) = if parts >= q {
            (1, parts.saturating_sub(q))
        } else {
            (0, parts)
        };
        Tat {
            ns: a.ns.saturating_add(b.ns).saturating_add(carry),
            part: u32::try_from(part).unwrap_or(0),
        }
    }

    /// `a - b`, or zero.
    pub(crate) fn difference(&self, a: Tat, b: Tat) -> Tat {
        if a <= b {
            return Tat::default();
        }
        let (borrow, part) = match a.part.checked_sub(b.part) {
            Some(part) => (0, part),
            None => (
                1,
                a.part.saturating_add(self.q.saturating_sub(b.part)), // a.part < b.part < q: no overflow
            ),
        };
        Tat {
            ns: a.ns.saturating_sub(b.ns).saturating_sub(borrow),
            part,
        }
    }

    /// A time read from outside may claim a part that this bucket cannot have.
    fn normal(&self, tat: Tat) -> Tat {
        if tat.part < self.q {
            tat
        } else {
            Tat::at(tat.ceil())
        }
    }
}

fn span(p: u64, q: u32, tokens: u64) -> Tat {
    if q == 1 {
        return Tat::at(p.saturating_mul(tokens));
    }
    let total = u128::from(p).saturating_mul(u128::from(tokens));
    let q = u128::from(q);
    Tat {
        ns: u64::try_from(total.checked_div(q).unwrap_or(0)).unwrap_or(u64::MAX),
        part: u32::try_from(total.checked_rem(q).unwrap_or(0)).unwrap_or(0),
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a.checked_rem(b).unwrap_or(0));
    }
    a
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests;
