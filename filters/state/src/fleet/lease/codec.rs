//! A lease as bytes, little endian, of a fixed size.

use super::Lease;
use crate::gcra::Tat;

/// How many.
pub const BYTES: usize = 164;

/// Numbers that fit 32 bits are kept so: positions do by their nature, the others are cut off there.
impl Lease {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for long in [
            self.start,
            self.end,
            self.tokens_end,
            self.exhausted,
            self.asking,
            self.last_at,
            self.fleet_rate,
            self.rates.at,
            self.tat.ns,
            self.purse,
            self.debt,
        ] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        for short in [
            self.limit,
            self.tokens,
            self.last_position,
            self.top,
            self.skip,
            self.owed,
            self.last_after,
            self.last_hits,
            self.own_hits,
            self.all_hits,
            self.batch,
            self.alone,
        ] {
            let short = u32::try_from(short).unwrap_or(u32::MAX);
            out.extend_from_slice(&short.to_le_bytes());
        }
        for (before, current) in self.rates.counts {
            out.extend_from_slice(&before.to_le_bytes());
            out.extend_from_slice(&current.to_le_bytes());
        }
        out.extend_from_slice(&self.tat.part.to_le_bytes());
    }

    /// Reads them; `None` if there are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut lease = Self::default();
        for long in [
            &mut lease.start,
            &mut lease.end,
            &mut lease.tokens_end,
            &mut lease.exhausted,
            &mut lease.asking,
            &mut lease.last_at,
            &mut lease.fleet_rate,
            &mut lease.rates.at,
            &mut lease.tat.ns,
            &mut lease.purse,
            &mut lease.debt,
        ] {
            let (bytes, tail) = rest.split_first_chunk::<8>()?;
            *long = u64::from_le_bytes(*bytes);
            rest = tail;
        }
        let mut short = || {
            let (bytes, tail) = rest.split_first_chunk::<4>()?;
            rest = tail;
            Some(u32::from_le_bytes(*bytes))
        };
        for number in [
            &mut lease.limit,
            &mut lease.tokens,
            &mut lease.last_position,
            &mut lease.top,
            &mut lease.skip,
            &mut lease.owed,
            &mut lease.last_after,
            &mut lease.last_hits,
            &mut lease.own_hits,
            &mut lease.all_hits,
            &mut lease.batch,
            &mut lease.alone,
        ] {
            *number = u64::from(short()?);
        }
        for (before, current) in &mut lease.rates.counts {
            *before = short()?;
            *current = short()?;
        }
        lease.tat = Tat {
            part: short()?,
            ..lease.tat
        };
        Some(lease)
    }
}
