//! How much memory there is, and how much of it is used: by the control group that the process is
//! in, which the kernel kills for using more, or by the process.

use std::fs;
use std::path::{Path, PathBuf};

use super::sys;

/// Where the kernel tells of processes and of control groups.
const PROCESS: &str = "/proc/self";
const GROUPS: &str = "/sys/fs/cgroup";

/// What may be used, and what tells how much is.
#[derive(Debug)]
pub struct MemoryGauge {
    limit_bytes: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A control group: the files with what it uses, and with what of that the kernel would give
    /// back.
    Group { usage: PathBuf, statistics: PathBuf, reclaimable: &'static str },
    /// This process: the file with its pages, and their size.
    Process { pages: PathBuf, page_bytes: u64 },
}

/// Memory of this process that is not paged out; `None` when the kernel does not tell.
pub fn resident_bytes() -> Option<u64> {
    resident(&Path::new(PROCESS).join("statm"), sys::page_bytes())
}

fn resident(pages: &Path, page_bytes: u64) -> Option<u64> {
    let resident: u64 = fs::read_to_string(pages).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(resident.saturating_mul(page_bytes))
}

/// Descriptors of this process that are open; `None` when the kernel does not tell.
pub fn open_descriptors() -> Option<u64> {
    let folder = Path::new(PROCESS).join("fd");
    // Since Linux 6.2 the size of the folder is their number; before, it is 0.
    match fs::metadata(&folder).ok()?.len() {
        0 => u64::try_from(fs::read_dir(folder).ok()?.count()).ok(),
        count => Some(count),
    }
}

impl MemoryGauge {
    /// Of this process, which may use so much; without a limit, of its control group, if that has
    /// one.
    pub fn new(limit_bytes: Option<u64>) -> Option<MemoryGauge> {
        match limit_bytes {
            Some(limit_bytes) => {
                let pages = Path::new(PROCESS).join("statm");
                let page_bytes = sys::page_bytes();
                Some(MemoryGauge { limit_bytes, source: Source::Process { pages, page_bytes } })
            }
            None => {
                let groups = fs::read_to_string(Path::new(PROCESS).join("cgroup")).ok()?;
                MemoryGauge::of_group(&groups, Path::new(GROUPS))
            }
        }
    }

    /// Of the group with the smallest limit among those that the process is in, one in the other.
    fn of_group(groups: &str, root: &Path) -> Option<MemoryGauge> {
        let unified = |line: &str| {
            line.strip_prefix("0::").map(|path| (root.to_owned(), path.to_owned(), true))
        };
        let of_memory = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let is_ours = controllers.split(',').any(|controller| controller == "memory");
            let path = parts.next().filter(|_| is_ours)?;
            Some((root.join("memory"), path.to_owned(), false))
        };
        let lines = groups.lines();
        let hierarchies = lines.filter_map(|line| of_memory(line).or_else(|| unified(line)));
        let gauges = hierarchies.flat_map(|(mount, path, is_unified)| {
            let path = path.trim_matches('/').to_owned();
            let ancestors: Vec<PathBuf> =
                Path::new(&path).ancestors().map(|ancestor| mount.join(ancestor)).collect();
            ancestors.into_iter().filter_map(move |folder| MemoryGauge::at(&folder, is_unified))
        });
        gauges.min_by_key(|gauge| gauge.limit_bytes)
    }

    /// Of one group, if it has a limit.
    fn at(folder: &Path, is_unified: bool) -> Option<MemoryGauge> {
        let (limit, usage, reclaimable) = match is_unified {
            true => ("memory.max", "memory.current", "inactive_file"),
            false => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        };
        let limit_bytes: u64 = fs::read_to_string(folder.join(limit)).ok()?.trim().parse().ok()?;
        let (usage, statistics) = (folder.join(usage), folder.join("memory.stat"));
        // The older hierarchy writes no limit as about the largest number there is.
        let source = Source::Group { usage, statistics, reclaimable };
        (limit_bytes < 1 << 60).then_some(MemoryGauge { limit_bytes, source })
    }

    /// What may be used.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// What is used; `None` when the kernel does not tell.
    pub fn used_bytes(&self) -> Option<u64> {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        match &self.source {
            Source::Group { usage, statistics, reclaimable } => {
                let reclaimable = fs::read_to_string(statistics).ok().and_then(|statistics| {
                    let mut lines = statistics.lines().filter_map(|line| line.split_once(' '));
                    lines.find(|(name, _)| name == reclaimable)?.1.parse::<u64>().ok()
                });
                Some(number(usage)?.saturating_sub(reclaimable.unwrap_or(0)))
            }
            Source::Process { pages, page_bytes } => resident(pages, *page_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files in it, which goes when this is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[(&str, &str)]) -> Folder {
            let name = format!("fanfare-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(name);
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Folder(root)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn told(gauge: Option<MemoryGauge>) -> Option<(u64, Option<u64>)> {
        gauge.map(|gauge| (gauge.limit_bytes(), gauge.used_bytes()))
    }

    #[test]
    fn m53_the_limit_of_a_control_group_is_found_and_what_the_kernel_would_give_back_is_not_used() {
        let folder = Folder::new(
            "unified",
            &[
                ("service/memory.max", "1000\n"),
                ("service/memory.current", "900\n"),
                ("service/memory.stat", "anon 500\ninactive_file 300\nactive_file 100\n"),
            ],
        );
        let found = told(MemoryGauge::of_group("0::/service\n", &folder.0));
        assert_eq!(found, Some((1_000, Some(600))));
    }

    #[test]
    fn m53_the_smallest_limit_counts_of_all_groups_that_a_process_is_in() {
        let folder = Folder::new(
            "nested",
            &[
                ("slice/memory.max", "500\n"),
                ("slice/memory.current", "400\n"),
                ("slice/memory.stat", ""),
                ("slice/service/memory.max", "max\n"),
                ("slice/service/memory.current", "300\n"),
            ],
        );
        let found = told(MemoryGauge::of_group("0::/slice/service\n", &folder.0));
        assert_eq!(found, Some((500, Some(400))));
        assert_eq!(told(MemoryGauge::of_group("0::/other\n", &folder.0)), None);
    }

    #[test]
    fn m53_the_older_hierarchy_is_understood_and_its_largest_number_is_no_limit() {
        let folder = Folder::new(
            "older",
            &[
                ("memory/limited/memory.limit_in_bytes", "268435456\n"),
                ("memory/limited/memory.usage_in_bytes", "2000\n"),
                ("memory/limited/memory.stat", "total_inactive_file 500\n"),
                ("memory/free/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let groups = |name: &str| format!("5:cpu,cpuacct:/\n4:memory:/{name}\n0::/\n");
        let found = told(MemoryGauge::of_group(&groups("limited"), &folder.0));
        assert_eq!(found, Some((256 * 1024 * 1024, Some(1_500))));
        assert_eq!(told(MemoryGauge::of_group(&groups("free"), &folder.0)), None);
    }

    #[test]
    fn a_limit_that_is_given_counts_for_what_the_process_holds() {
        let gauge = MemoryGauge::new(Some(1 << 30)).unwrap();
        let used = gauge.used_bytes().unwrap();
        assert!(gauge.limit_bytes() == 1 << 30 && used > 100_000, "{used}");
        assert!(resident_bytes().unwrap() > 100_000);
    }

    #[test]
    fn descriptors_that_are_opened_are_counted() {
        let before = open_descriptors().unwrap();
        let open: Vec<_> = (0..500).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close some, too.
        assert!(open_descriptors().unwrap() > before + 250, "{before}");
        drop(open);
    }
}
