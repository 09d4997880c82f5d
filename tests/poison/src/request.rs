//! Valgrind's client requests (`valgrind.h`): the one way in which a program speaks to the valgrind that it runs under.
//!
//! The crates that wrap that header want clang, or build a C file with the header installed; four requests do not need it.

#![expect(unsafe_code, reason = "a client request is a sequence of instructions")]

use std::arch::asm;

/// Makes a request. Outside of valgrind the answer is 0.
#[inline(never)]
pub(super) fn request(code: usize, arguments: [usize; 5]) -> usize {
    let [a, b, c, d, e] = arguments;
    let block = [code, a, b, c, d, e];
    let mut answer = 0_usize;
    // SAFETY: a processor rotates a register by 128 bits in all and swaps another with itself, which changes no register and no memory.
    // Valgrind reads the six words of `block`, and answers in the register of `answer`; the requests below change no byte of memory.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") block.as_ptr(),
            inout("rdx") answer,
        );
    }
    // SAFETY: the same, with this processor's registers.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61", "orr x10, x10, x10",
            in("x4") block.as_ptr(),
            inout("x3") answer,
        );
    }
    answer
}

/// How many valgrinds this runs under.
pub(super) const RUNNING_ON_VALGRIND: usize = 0x1001;
/// How many errors there were, those that were suppressed not among them.
pub(super) const COUNT_ERRORS: usize = 0x1201;
/// Nobody wrote these bytes.
pub(super) const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
/// Somebody did.
pub(super) const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;
/// `VG_USERREQ_TOOL_BASE('M', 'C')`
const MEMCHECK: usize = 0x4d43_0000;
