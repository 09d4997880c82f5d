//! The end of the module in a process: `dlclose`, or the process's exit.

use super::call::call;
use super::process;

/// Lets go of what is open, which `C_Finalize` keeps for the next `C_Initialize`.
///
/// One cannot tell an exit, in which other threads may be in calls, from `dlclose`. So nothing is closed that they have, nothing is
/// freed, since the allocator's lock may be held, and nothing is waited for.
extern "C" fn unload() {
    let _always_ok = call(|| {
        process::let_go();
        Ok(())
    });
}

// SAFETY: the dynamic linker calls each entry of this section once, without arguments that `unload` would look at, while all of the
// module is still there.
#[unsafe(link_section = ".fini_array")]
#[used]
static AT_UNLOAD: extern "C" fn() = unload;
