//! The cost of a process, as the kernel counts it (proc(5)).

use std::fs;

use anyhow::Context as _;

/// Ticks per second in `/proc/<pid>/stat`: 100 on every Linux, independent of the kernel's own clock.
const TICKS: f64 = 100.0;

/// CPU seconds of a process so far, including its threads.
pub fn cpu(pid: u32) -> anyhow::Result<f64> {
    Ok(Stat::read(pid)?.own)
}

/// CPU seconds of a process and all its descendants, including those that have ended.
pub fn cpu_of_family(pid: u32) -> anyhow::Result<f64> {
    let head = Stat::read(pid)?;
    let processes = fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(|child| Stat::read(child).ok()).filter(|stat| stat.parent == pid);
    Ok(head.own + head.ended + children.map(|stat| stat.own + stat.ended).sum::<f64>())
}

/// Resident memory of a process in bytes: at present, and at its peak.
pub fn memory(pid: u32) -> anyhow::Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("no {name} in /proc/{pid}/status"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Number of processes that want a processor, averaged over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// A description of the machine in one line.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib: u64 = line(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let (model, kernel) = (line(&read("/proc/cpuinfo"), "model name"), read("/proc/sys/kernel/osrelease"));
    format!("{cores} × {model}, {} GiB, Linux {}", kib >> 20, kernel.trim())
}

struct Stat {
    parent: u32,
    own: f64,
    /// CPU time of children that have ended and were waited for.
    ended: f64,
}

impl Stat {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in brackets may have any characters, so the fields are counted from the state, field 3.
        let (_, rest) = text.rsplit_once(") ").context("a stat line has a name in brackets")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let seconds = |first: usize| -> anyhow::Result<f64> {
            let ticks = fields[first - 3].parse::<f64>()? + fields[first - 2].parse::<f64>()?;
            Ok(ticks / TICKS)
        };
        Ok(Self { parent: fields[1].parse()?, own: seconds(14)?, ended: seconds(16)? })
    }
}
