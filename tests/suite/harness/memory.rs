//! A control group that limits the memory of a process, as a container's limit does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where hosts mount the hierarchies of version 1 and 2.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
/// The chart's memory limit.
pub const LIMIT_BYTES: u64 = 128 * 1024 * 1024;

/// A control group. It is removed when this is dropped, after its processes.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// A group with the chart's limit; `None` where this process may not make one.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ecr-pull-secrets-test-{}-{number}", std::process::id());
        MOUNTS
            .iter()
            .find_map(|mount| Self::at(Path::new(mount), &name))
    }

    fn at(mount: &Path, name: &str) -> Option<Self> {
        // Version 2 gives a group the controllers that its parent hands down.
        let _ = fs::write(mount.join("cgroup.subtree_control"), "+memory");
        let folder = mount.join(name);
        fs::create_dir(&folder).ok()?;
        let group = Self(folder);
        let limits = ["memory.limit_in_bytes", "memory.max"];
        let limit = limits.iter().map(|file| group.0.join(file));
        let limit = limit.into_iter().find(|file| file.exists())?;
        fs::write(limit, LIMIT_BYTES.to_string()).ok()?;
        // Without swap, as on a node. A kernel that counts no swap has no such file.
        let swap = [
            ("memory.memsw.limit_in_bytes", LIMIT_BYTES),
            ("memory.swap.max", 0),
        ];
        for (file, bytes) in swap {
            let _ = fs::write(group.0.join(file), bytes.to_string());
        }
        Some(group)
    }

    /// The file that moves a process into the group.
    pub fn entry(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// How many processes the kernel killed for want of memory.
    pub fn kills(&self) -> u64 {
        let files = ["memory.oom_control", "memory.events"];
        let text = files
            .iter()
            .find_map(|file| fs::read_to_string(self.0.join(file)).ok());
        let text = text.expect("the kernel counts");
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "));
        let count = lines.next().expect("the kernel counts kills");
        count.parse().expect("a number")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
