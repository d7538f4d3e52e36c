//! Long work on a configuration, beside threads that serve requests.

/// Steps between two looks whether another thread waits: a fraction of a millisecond.
const STEPS: usize = 128;

/// To be called with each step of a long loop. Lets a thread run that waits for this processor: schedulers let one
/// that has begun run for some milliseconds, however much lower its priority is, and a request would wait for that.
pub fn give_way(step: usize) {
    if step % STEPS == STEPS - 1 {
        std::thread::yield_now();
    }
}
