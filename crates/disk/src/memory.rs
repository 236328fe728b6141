//! Memory that is asked for in large pieces, of which there may be too little: that is an error of one read.

use std::io;

use parking_lot::Mutex;

/// What other threads may take between a look for memory and its use, in bytes.
const SLACK: usize = 4 << 20;

/// Memory for `length` bytes.
///
/// # Errors
///
/// [`OutOfMemory`](io::ErrorKind::OutOfMemory).
pub(crate) fn room(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(length)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(bytes)
}

/// Runs what takes `length` bytes by itself, in a library that would end the process where there are fewer.
///
/// # Errors
///
/// [`OutOfMemory`](io::ErrorKind::OutOfMemory), before it is run.
pub(crate) fn with_room<R>(length: usize, take: impl FnOnce() -> R) -> io::Result<R> {
    // No two may see the same bytes free.
    static TAKING: Mutex<()> = Mutex::new(());
    let _taking = TAKING.lock();
    drop(room(length.saturating_add(SLACK))?);
    Ok(take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let error = room(usize::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let taken = with_room(usize::MAX, || panic!("it is not run"));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(with_room(1 << 20, || 7).unwrap(), 7);
    }
}
