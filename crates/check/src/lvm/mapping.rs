//! Where the bytes of a logical volume lie on the disk.

/// The pieces of a logical volume.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// In the order of the volume, without gaps.
    segments: Vec<Segment>,
    size: u64,
}

/// Bytes of the disk in a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    /// Where they begin, in bytes.
    pub(crate) start: u64,
    /// How many there are.
    pub(crate) length: u64,
}

/// Where a stripe begins on the disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stripe(pub(super) u64);

/// A range of a volume: on one place, or in turns on several.
#[derive(Debug)]
pub(super) struct Segment {
    start: u64,
    length: u64,
    stripe_size: u64,
    stripes: Vec<Stripe>,
}

impl Segment {
    /// `None` where the numbers do not fit each other.
    pub(super) fn new(
        start: u64,
        length: u64,
        stripe_size: u64,
        stripes: Vec<Stripe>,
    ) -> Option<Self> {
        let count = stripes.len() as u64;
        let fits = match count {
            0 => false,
            1 => true,
            _ => stripe_size > 0 && length.is_multiple_of(count.checked_mul(stripe_size)?),
        };
        start.checked_add(length)?;
        (fits && length > 0).then_some(Self {
            start,
            length,
            stripe_size,
            stripes,
        })
    }

    fn locate(&self, offset: u64) -> Run {
        let inside = offset - self.start;
        if let [Stripe(start)] = self.stripes[..] {
            return Run {
                start: start + inside,
                length: self.length - inside,
            };
        }
        let (number, rest) = (inside / self.stripe_size, inside % self.stripe_size);
        let count = self.stripes.len() as u64;
        let Stripe(start) = self.stripes[(number % count) as usize];
        Run {
            start: start + number / count * self.stripe_size + rest,
            length: self.stripe_size - rest,
        }
    }
}

impl Mapping {
    /// `None` where segments overlap or leave gaps.
    pub(super) fn new(mut segments: Vec<Segment>) -> Option<Self> {
        segments.sort_by_key(|segment| segment.start);
        let mut size = 0;
        for segment in &segments {
            if segment.start != size {
                return None;
            }
            size = segment.start + segment.length;
        }
        Some(Self { segments, size })
    }

    /// Size of the volume in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where the bytes from `offset` on lie; `None` behind the end.
    pub(crate) fn locate(&self, offset: u64) -> Option<Run> {
        let behind = self
            .segments
            .partition_point(|segment| segment.start <= offset);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        (offset < segment.start + segment.length).then(|| segment.locate(offset))
    }
}
