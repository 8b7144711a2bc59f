//! What the kernel says of the server's process: processor time and memory, from /proc.

use std::collections::BTreeMap;
use std::fs;

use crate::failure::Failure;

/// The server.
pub struct Process {
    pid: u32,
}

/// Its processor time so far.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// What each thread ran for, in ns, by its number.
    threads: BTreeMap<u32, u64>,
    user_ticks: u64,
    system_ticks: u64,
}

/// Processor time of a part of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuUse {
    pub total_ns: u64,
    /// The part of it that was the server's own, not the kernel's on its behalf.
    pub user_part: f64,
}

/// Its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub rss_kib: u64,
    pub pss_kib: Option<u64>,
    pub peak_kib: Option<u64>,
}

/// Ticks of /proc/PID/stat: USER_HZ, which is 100 on every architecture that Linux has today.
const TICK_NS: u64 = 10_000_000;

impl Process {
    pub fn new(pid: u32) -> Result<Process, Failure> {
        let process = Process { pid };
        match process.read("stat") {
            Some(_) => Ok(process),
            None => Err(Failure::Usage(format!("--server-pid: there is no process {pid}"))),
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).ok()
    }

    pub fn cpu(&self) -> Option<Cpu> {
        let (user_ticks, system_ticks) = ticks(&self.read("stat")?)?;
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?.flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the two reads.
            let text = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let ran_ns = text.split(' ').next().and_then(|number| number.parse().ok());
            threads.extend(ran_ns.map(|ran_ns: u64| (thread, ran_ns)));
        }
        Some(Cpu { threads, user_ticks, system_ticks })
    }

    pub fn memory(&self) -> Option<Memory> {
        // The counters in `status` are kept per processor and may lag; the page tables do not.
        let exact = self.read("smaps_rollup");
        let status = self.read("status")?;
        let exact = |name| exact.as_deref().and_then(|text| field_kib(text, name));
        Some(Memory {
            rss_kib: exact("Rss").or_else(|| field_kib(&status, "VmRSS"))?,
            pss_kib: exact("Pss"),
            peak_kib: field_kib(&status, "VmHWM"),
        })
    }
}

impl Cpu {
    /// The time of a process with one thread.
    #[cfg(test)]
    pub fn of_one_thread(ran_ns: u64, user_ticks: u64, system_ticks: u64) -> Cpu {
        Cpu { threads: BTreeMap::from([(1, ran_ns)]), user_ticks, system_ticks }
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Cpu) -> CpuUse {
        let user = self.user_ticks.saturating_sub(before.user_ticks);
        let system = self.system_ticks.saturating_sub(before.system_ticks);
        let ticks = user + system;
        let ran = self.threads.iter().map(|(thread, ran_ns)| {
            ran_ns.saturating_sub(before.threads.get(thread).copied().unwrap_or_default())
        });
        // What a thread ran for goes with it when it ends; then ticks are all that is left.
        let has_all = before.threads.keys().all(|thread| self.threads.contains_key(thread));
        let total_ns = if has_all { ran.sum() } else { ticks * TICK_NS };
        let user_part = if ticks == 0 { 0.5 } else { user as f64 / ticks as f64 };
        CpuUse { total_ns, user_part }
    }
}

/// `utime` and `stime`, the fields 14 and 15. The second one, a name in brackets, may hold spaces.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next()?.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(threads: &[(u32, u64)], user_ticks: u64, system_ticks: u64) -> Cpu {
        Cpu { threads: threads.iter().copied().collect(), user_ticks, system_ticks }
    }

    #[test]
    fn all_threads_count_and_ticks_only_divide() {
        let before = cpu(&[(1, 100), (2, 1_000)], 10, 10);
        let after = cpu(&[(1, 150), (2, 1_200), (3, 7)], 13, 11);
        assert_eq!(after.since(&before), CpuUse { total_ns: 257, user_part: 0.75 });
    }

    #[test]
    fn when_a_thread_has_ended_ticks_are_all_there_is() {
        let used = cpu(&[(1, 150)], 13, 11).since(&cpu(&[(1, 100), (2, 1_000)], 10, 10));
        assert_eq!(used.total_ns, 4 * TICK_NS);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "17 (a) (b c) R 1 2 3 4 5 6 7 8 9 10 140 150 16";
        assert_eq!(ticks(stat), Some((140, 150)));
        assert_eq!(ticks("17"), None);
    }

    #[test]
    fn memory_is_in_kib() {
        let text = "VmHWM:\t  200 kB\nVmRSS:\t  100 kB\nRssAnon: 1 kB\n";
        assert_eq!(field_kib(text, "VmRSS"), Some(100));
        assert_eq!(field_kib(text, "Rss"), None);
    }

    #[test]
    fn this_process_has_time_and_memory() {
        let process = Process::new(std::process::id()).unwrap();
        assert!(process.memory().unwrap().rss_kib > 0);
        let before = process.cpu().unwrap();
        assert!(process.cpu().unwrap().since(&before).total_ns < 10_000_000_000);
        assert!(Process::new(u32::MAX).is_err());
    }
}
