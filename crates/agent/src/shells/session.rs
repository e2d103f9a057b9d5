//! Everything that a program has started, as long as it did not leave the program's session on purpose.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Kills every process of the session that `leader` leads, or led.
pub fn kill(leader: Pid) {
    let session = leader.as_raw_nonzero().get();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if session_in(&stat) == Some(session)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may just have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The session in the text of `/proc/PID/stat`, whose second field, a name in parentheses, may hold anything.
fn session_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_behind_any_name() {
        let cases =
            [("12 (sh) S 7 12 11 0", Some(11)), ("12 (a) S 1 (b)) R 9 2 3 4", Some(3)), ("12 (sh", None)];
        for (stat, session) in cases {
            assert_eq!(session_in(stat), session, "{stat}");
        }
    }
}
