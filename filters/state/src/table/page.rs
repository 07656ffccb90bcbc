//! The bytes of one page; see the module above for the layout.

use crate::gcra::{MAX_BUCKETS, Tat};
use crate::occupancy::Occupancy;
use std::cell::RefCell;

const MAGIC: [u8; 4] = [b'T', b'G', b'B', 1];
pub(super) const HEADER: usize = 16;
const PARTS: u8 = 16;

/// A page must hold one record of the largest shape.
pub(super) const LEAST_BYTES: usize = HEADER + 9 + MAX_BUCKETS * 12;

/// A page being read or changed in the buffer that is then stored.
pub(crate) struct Page<'a> {
    bytes: &'a mut Vec<u8>,
    scratch: &'a RefCell<Vec<u8>>,
    limit: usize,
    discarded: bool,
}

struct Record<'a> {
    tag: u64,
    shape: u8,
    body: &'a [u8],
    /// With its tag and shape.
    whole: &'a [u8],
}

impl<'a> Page<'a> {
    /// Takes the bytes for a page, or makes them an empty one. `latest` is the latest time that a bucket can have now;
    /// a floor beyond it comes from a clock that was wrong.
    pub(super) fn open(
        bytes: &'a mut Vec<u8>,
        scratch: &'a RefCell<Vec<u8>>,
        pages: u32,
        limit: usize,
        latest: u64,
    ) -> Self {
        let good = is_good(bytes, pages, limit);
        let discarded = !good && !bytes.is_empty();
        if !good {
            bytes.clear();
            bytes.extend_from_slice(&MAGIC);
            bytes.extend_from_slice(&pages.to_le_bytes());
            bytes.extend_from_slice(&0_u64.to_le_bytes());
        }
        let mut page = Self {
            bytes,
            scratch,
            limit,
            discarded,
        };
        if page.floor() > latest {
            page.set_floor(latest);
        }
        page
    }

    pub(crate) fn discarded(&self) -> bool {
        self.discarded
    }

    pub(crate) fn floor(&self) -> u64 {
        u64_at(self.bytes, 8).unwrap_or(0)
    }

    fn set_floor(&mut self, floor: u64) {
        if let Some(place) = self.bytes.get_mut(8..HEADER) {
            place.copy_from_slice(&floor.to_le_bytes());
        }
    }

    fn records(&self) -> Records<'_> {
        Records(self.bytes.get(HEADER..).unwrap_or_default())
    }

    /// The times of a record. One of the same tag with another shape is another limit's.
    pub(crate) fn find(&self, tag: u64, n: usize, parts: bool) -> Option<[Tat; MAX_BUCKETS]> {
        let shape = shape(n, parts);
        self.records()
            .find(|r| r.tag == tag && r.shape == shape)
            .map(|r| r.tats())
    }

    /// What is not over.
    pub(super) fn live(&self, now: u64) -> Occupancy {
        let mut found = Occupancy::default();
        for record in self.records().filter(|r| r.latest() > now) {
            found.keys = found.keys.saturating_add(1);
            let bytes = u64::try_from(record.whole.len()).unwrap_or(0);
            found.bytes = found.bytes.saturating_add(bytes);
        }
        found
    }

    /// Writes a record, makes room if it is new. Returns whether one was forgotten for it that was still needed.
    pub(crate) fn put(&mut self, tag: u64, tats: &[Tat], parts: bool, now: u64) -> bool {
        let shape = shape(tats.len(), parts);
        let mut record = [0; LEAST_BYTES];
        let len = encode(&mut record, tag, shape, tats);
        let record = record.get(..len).unwrap_or_default();
        let mut at = HEADER;
        let known = self.records().find_map(|r| {
            let start = at;
            at = at.saturating_add(r.whole.len());
            (r.tag == tag && r.shape == shape).then_some(start)
        });
        if let Some(start) = known {
            if let Some(place) = self.bytes.get_mut(start..start.saturating_add(len)) {
                place.copy_from_slice(record);
            }
            return false;
        }
        let evicted = self.make_room(len, now);
        self.bytes.extend_from_slice(record);
        evicted
    }

    /// Drops what has passed, then whatever has least to forget, until `len` bytes are free.
    fn make_room(&mut self, len: usize, now: u64) -> bool {
        let room = self.limit.saturating_sub(len);
        let mut kept = self.scratch.take();
        kept.clear();
        for record in self.records().filter(|r| r.latest() > now) {
            kept.extend_from_slice(record.whole);
        }
        let mut evicted = false;
        while kept.len().saturating_add(HEADER) > room {
            let mut at = 0_usize;
            let mut least: Option<(u64, usize, usize)> = None;
            for record in Records(&kept) {
                let end = at.saturating_add(record.whole.len());
                let latest = record.latest();
                if least.is_none_or(|(smallest, ..)| latest < smallest) {
                    least = Some((latest, at, end));
                }
                at = end;
            }
            let Some((latest, start, end)) = least else {
                break;
            };
            kept.drain(start..end);
            self.set_floor(self.floor().max(latest));
            evicted = true;
        }
        self.bytes.truncate(HEADER);
        self.bytes.extend_from_slice(&kept);
        self.scratch.replace(kept);
        evicted
    }
}

impl Record<'_> {
    fn tats(&self) -> [Tat; MAX_BUCKETS] {
        let mut tats = [Tat::default(); MAX_BUCKETS];
        let n = usize::from(self.shape & 0x0f);
        for (i, tat) in tats.iter_mut().take(n).enumerate() {
            tat.ns = u64_at(self.body, i.saturating_mul(8)).unwrap_or(0);
            if self.shape & PARTS != 0 {
                let at = n.saturating_mul(8).saturating_add(i.saturating_mul(4));
                tat.part = u32_at(self.body, at).unwrap_or(0);
            }
        }
        tats
    }

    /// When the last of its buckets is full again.
    fn latest(&self) -> u64 {
        let tats = self.tats();
        tats.iter().map(|t| t.ceil()).max().unwrap_or(0)
    }
}

/// Records from the front; ends at the first bytes that are none.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let tag = u64_at(self.0, 0)?;
        let shape = *self.0.get(8)?;
        let len = record_len(shape)?;
        let (whole, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Record {
            tag,
            shape,
            body: whole.get(9..)?,
            whole,
        })
    }
}

fn is_good(bytes: &[u8], pages: u32, limit: usize) -> bool {
    if bytes.len() > limit || !bytes.starts_with(&MAGIC) || u32_at(bytes, 4) != Some(pages) {
        return false;
    }
    let Some(mut records) = bytes.get(HEADER..).map(Records) else {
        return false;
    };
    while records.next().is_some() {}
    records.0.is_empty()
}

fn shape(n: usize, parts: bool) -> u8 {
    u8::try_from(n).unwrap_or(0) | if parts { PARTS } else { 0 }
}

fn record_len(shape: u8) -> Option<usize> {
    let n = usize::from(shape & 0x0f);
    let each = if shape & PARTS == 0 { 8 } else { 12 };
    let known = shape & !(PARTS | 0x0f) == 0 && (1..=MAX_BUCKETS).contains(&n);
    known.then(|| n.saturating_mul(each).saturating_add(9))
}

fn encode(out: &mut [u8; LEAST_BYTES], tag: u64, shape: u8, tats: &[Tat]) -> usize {
    let mut at = 0_usize;
    let mut push = |bytes: &[u8]| {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = out.get_mut(at..end) {
            place.copy_from_slice(bytes);
            at = end;
        }
    };
    push(&tag.to_le_bytes());
    push(&[shape]);
    for tat in tats {
        push(&tat.ns.to_le_bytes());
    }
    if shape & PARTS != 0 {
        for tat in tats {
            push(&tat.part.to_le_bytes());
        }
    }
    at
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let end = at.checked_add(8)?;
    bytes.get(at..end)?.try_into().ok().map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    bytes.get(at..end)?.try_into().ok().map(u32::from_le_bytes)
}
