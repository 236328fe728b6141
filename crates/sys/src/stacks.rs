//! Threads that begin with no more than the stack that they were given.
//!
//! Rust gives each thread a second stack, to tell on it that the first one has overflowed (`std::sys::stack_overflow`),
//! and ends the process where there is no memory for it. Without it a thread that cannot be had is an error of one
//! request. Rust makes none where the signals of an overflow have handlers already before it sets up its own.

use std::ptr;

/// Run by the dynamic loader, or by the C library of a static program, before Rust begins.
#[used]
// SAFETY: entries of this section are pointers to C functions (System V gABI, "Initialization and Termination
// Functions"); this one needs nothing of Rust's runtime.
#[unsafe(link_section = ".init_array")]
static BEFORE_RUST: extern "C" fn() = handle_overflows;

/// An overflow ends the process with its signal, as it does without a handler.
extern "C" fn handle_overflows() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: all zeros are a valid `struct sigaction` without flags and with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = once as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the structure is complete, and the handler does nothing.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
}

/// The signal is back to its default already (`SA_RESETHAND`), and comes again as the same instruction is tried again.
extern "C" fn once(_: libc::c_int) {}

#[cfg(test)]
mod tests {
    use std::thread;

    /// The second stack of this thread (sigaltstack(2)).
    fn has_second_stack() -> bool {
        // SAFETY: all zeros are a valid `stack_t`.
        let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: only asks, into a structure that lives through the call.
        let result = unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
        assert_eq!(result, 0);
        stack.ss_flags & libc::SS_DISABLE == 0
    }

    #[test]
    fn a_thread_has_one_stack() {
        assert!(!thread::spawn(has_second_stack).join().unwrap());
    }
}
