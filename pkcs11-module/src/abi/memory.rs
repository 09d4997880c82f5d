//! The caller's memory: null, misaligned or impossibly long is refused before anything is read or written.

use std::ptr::NonNull;

use cryptoki_sys::CK_ULONG;

use crate::token::Error;

/// Where the caller wants a value.
pub(super) struct Out<T>(NonNull<T>);

impl<T: Copy> Out<T> {
    /// # Safety
    /// `pointer` is null or misaligned, or one `T` can be written there until the function that was called returns.
    pub(super) unsafe fn new(pointer: *mut T) -> Result<Self, Error> {
        match NonNull::new(pointer) {
            Some(pointer) if pointer.is_aligned() => Ok(Self(pointer)),
            _ => Err(Error::ArgumentsBad),
        }
    }

    pub(super) fn put(&self, value: T) {
        // SAFETY: `new` checked for null and alignment, and its caller promised the room.
        unsafe { self.0.write(value) }
    }

    /// What the caller put there: in-out lengths only.
    pub(super) fn get(&self) -> T {
        // SAFETY: as in `put`; every bit pattern is a `T`, which is an integer wherever this is used.
        unsafe { self.0.read() }
    }
}

/// Where the caller wants several values, or null where it wants to know how many.
pub(super) struct OutArray<T> {
    items: *mut T,
    count: Out<CK_ULONG>,
}

impl<T: Copy> OutArray<T> {
    /// # Safety
    /// `count` is as [`Out::new`] wants it; `items` is null or misaligned, or as many `T` as `count` says can be written there.
    pub(super) unsafe fn new(items: *mut T, count: *mut CK_ULONG) -> Result<Self, Error> {
        if !items.is_null() && !items.is_aligned() {
            return Err(Error::ArgumentsBad);
        }
        // SAFETY: passed on from this function's caller.
        let count = unsafe { Out::new(count) }?;
        Ok(Self { items, count })
    }

    /// How many the caller has room for: none where it asks how many there are.
    pub(super) fn room(&self) -> Option<usize> {
        (!self.items.is_null()).then(|| usize::try_from(self.count.get()).unwrap_or(usize::MAX))
    }

    /// Says how many there are, without giving them.
    pub(super) fn put_count(&self, count: usize) {
        self.count.put(CK_ULONG::try_from(count).unwrap_or(CK_ULONG::MAX));
    }

    /// Gives all of them, or says how many there are.
    pub(super) fn put(&self, items: &[T]) -> Result<(), Error> {
        let room = self.room();
        self.put_count(items.len());
        match room {
            None => Ok(()),
            Some(room) if room < items.len() => Err(Error::BufferTooSmall),
            Some(_) => {
                // SAFETY: `items` is aligned, not null here, and has room for as many as were counted above; a slice of this module's
                // own does not overlap the caller's memory.
                unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), self.items, items.len()) };
                Ok(())
            }
        }
    }
}

/// What the caller passes as a pointer and a count. Null is an empty slice, if the count agrees.
///
/// # Safety
/// `pointer` is null or misaligned, or `count` initialised `T` can be read there while the slice is in use.
pub(super) unsafe fn slice<'a, T>(pointer: *const T, count: CK_ULONG) -> Result<&'a [T], Error> {
    let count = checked_count::<T>(pointer, count)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: not null, aligned, and no longer than an allocation can be; the caller promised the contents.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// The same, to be written.
///
/// # Safety
/// As for [`slice`], and nothing else refers to it meanwhile.
pub(super) unsafe fn slice_mut<'a, T>(pointer: *mut T, count: CK_ULONG) -> Result<&'a mut [T], Error> {
    let count = checked_count::<T>(pointer, count)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: not null, aligned, and no longer than an allocation can be; the caller promised the rest.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

fn checked_count<T>(pointer: *const T, count: CK_ULONG) -> Result<usize, Error> {
    let count = usize::try_from(count).map_err(|_| Error::ArgumentsBad)?;
    let size = count.checked_mul(size_of::<T>()).ok_or(Error::ArgumentsBad)?;
    let is_usable = count == 0 || (!pointer.is_null() && pointer.is_aligned());
    if is_usable && isize::try_from(size).is_ok() {
        Ok(count)
    } else {
        Err(Error::ArgumentsBad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_mean_nothing_are_refused() {
        let word = 7u64;
        let odd = (&raw const word).cast::<u8>().wrapping_add(1).cast::<u64>();
        for (pointer, count, good) in [
            (std::ptr::null(), 0, true),
            (std::ptr::null(), 1, false),
            (&raw const word, 1, true),
            (&raw const word, CK_ULONG::MAX, false),
            (&raw const word, CK_ULONG::MAX / 8, false),
            (odd, 1, false),
        ] {
            assert_eq!(checked_count(pointer, count).is_ok(), good, "{pointer:?} {count}");
        }
        // SAFETY: null and misaligned pointers are what it refuses.
        assert!(unsafe { Out::<u64>::new(std::ptr::null_mut()) }.is_err());
        // SAFETY: the same.
        assert!(unsafe { Out::new(odd.cast_mut()) }.is_err());
    }

    #[test]
    fn a_list_that_does_not_fit_says_its_length() {
        let mut items = [0u8; 4];
        let mut count = 2;
        // SAFETY: both point at locals, which outlive it; `count` is below the array's length throughout.
        let out = unsafe { OutArray::new(items.as_mut_ptr(), &raw mut count) }.unwrap();
        assert_eq!(out.put(&[1, 2, 3]), Err(Error::BufferTooSmall));
        assert_eq!(out.room(), Some(3));
        assert_eq!(out.put(&[1, 2, 3]), Ok(()));
        assert_eq!((items, count), ([1, 2, 3, 0], 3));
    }
}
