//! Lists in blocks of one size. They grow without copying, so they never take twice their room on the way, and a block that is
//! freed fits whatever comes next: memory of a VM never shrinks, so what fits again is what counts.

/// A list of `N` (a power of two) items a block.
pub(crate) struct Blocks<T, const N: usize> {
    blocks: Vec<Vec<T>>,
}

impl<T, const N: usize> Default for Blocks<T, N> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T, const N: usize> Blocks<T, N> {
    const SHIFT: u32 = N.trailing_zeros();

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let block = self.blocks.get(at >> Self::SHIFT)?;
        block.get(at & N.wrapping_sub(1))
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < N => block.push(item),
            _ => {
                let mut block = Vec::with_capacity(N);
                block.push(item);
                self.blocks.push(block);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        let full = self.blocks.len().saturating_sub(1) << Self::SHIFT;
        let last = self.blocks.last().map_or(0, Vec::len);
        full.saturating_add(last)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

/// Bytes a block of [`Names`].
const NAMES: usize = 32 * 1024;

/// Pairs of two short texts, one after the other: a byte of length for each, then their bytes.
#[derive(Default)]
pub(crate) struct Names {
    blocks: Vec<Vec<u8>>,
}

impl Names {
    /// Adds a pair; `None` if a text is longer than 255 bytes or there are 4 GiB already.
    pub(crate) fn push(&mut self, one: &str, two: &str) -> Option<u32> {
        let lengths = [u8::try_from(one.len()).ok()?, u8::try_from(two.len()).ok()?];
        let size = one.len().saturating_add(two.len()).saturating_add(2);
        let fits = |b: &Vec<u8>| NAMES.saturating_sub(b.len()) >= size;
        if !self.blocks.last().is_some_and(fits) {
            self.blocks.push(Vec::with_capacity(NAMES));
        }
        let number = self.blocks.len().checked_sub(1)?;
        let block = self.blocks.get_mut(number)?;
        let at = number.checked_mul(NAMES)?.checked_add(block.len())?;
        block.extend_from_slice(&lengths);
        block.extend_from_slice(one.as_bytes());
        block.extend_from_slice(two.as_bytes());
        u32::try_from(at).ok()
    }

    /// The pair at a place that [`Names::push`] gave.
    pub(crate) fn get(&self, at: u32) -> Option<(&str, &str)> {
        let at = usize::try_from(at).ok()?;
        let block = self.blocks.get(at.checked_div(NAMES)?)?;
        let bytes = block.get(at.checked_rem(NAMES)?..)?;
        let (&[one, two], rest) = bytes.split_first_chunk::<2>()?;
        let (one, rest) = rest.split_at_checked(usize::from(one))?;
        let (two, _) = rest.split_at_checked(usize::from(two))?;
        Some((
            std::str::from_utf8(one).ok()?,
            std::str::from_utf8(two).ok()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_order() {
        let mut blocks: Blocks<usize, 8> = Blocks::default();
        assert_eq!((blocks.len(), blocks.get(0)), (0, None));
        for i in 0..100 {
            blocks.push(i);
            assert_eq!(blocks.len(), i + 1);
        }
        for i in 0..100 {
            assert_eq!(blocks.get(i), Some(&i));
        }
        assert_eq!(blocks.get(100), None);
        assert!(blocks.iter().copied().eq(0..100));
    }

    #[test]
    fn names_read_back() {
        let mut names = Names::default();
        let long = "x".repeat(128);
        let places: Vec<u32> = (0..2000)
            .map(|i| names.push(&format!("{long}{i}"), &format!("k{i}")).unwrap())
            .collect();
        for (i, at) in places.into_iter().enumerate() {
            let (one, two) = names.get(at).unwrap();
            assert_eq!((one, two), (&*format!("{long}{i}"), &*format!("k{i}")));
        }
        assert_eq!(names.push(&"x".repeat(256), ""), None);
        assert_eq!(names.get(u32::MAX), None);
    }
}
