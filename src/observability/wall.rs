//! The time of day, for whoever has looked at the monotonic clock anyway.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// How long the two clocks are taken to go alike: who sets the clock of the machine sees the new time after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The Unix time at `now`, which has just been. Asking the system costs as much as writing a third of a log line, so
/// that a thread asks once a second and reckons on from there.
pub fn unix_time(now: Instant) -> Duration {
    thread_local! {
        static ASKED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    }
    if let Some((asked, time)) = ASKED.get()
        && let Some(since) = now.checked_duration_since(asked)
        && since < ASK_AGAIN
    {
        return time + since;
    }
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 has not been set.
    let time = time.unwrap_or(Duration::ZERO);
    ASKED.set(Some((now, time)));
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_the_clock_of_the_system() {
        let system = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let before = system().unwrap();
        let now = Instant::now();
        let time = unix_time(now);
        assert!(time >= before && time <= system().unwrap());
        let later = Duration::from_millis(999);
        assert_eq!(unix_time(now + later), time + later);
        // Reckoned on, it would be a second ahead of the system.
        assert!(unix_time(now + ASK_AGAIN) <= system().unwrap());
        assert!(unix_time(now) <= system().unwrap());
    }
}
