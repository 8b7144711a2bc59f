// The machine: what it is, which cores are used, and whether anything else keeps it busy.
import { readdirSync, readFileSync } from "node:fs";
import { loadavg } from "node:os";

/** Above this load average, figures are worthless. */
export const LOAD_LIMIT = 0.5;

const VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities";
const CLOCK_TICKS_PER_S = 100;

/** What a reader needs to know of the machine to judge the figures. */
export function describeMachine() {
  const information = read("/proc/cpuinfo") ?? "";
  return {
    cpu: /^model name\s*:\s*(.+)$/m.exec(information)?.[1] ?? "unknown",
    cores: allowedCores().length,
    virtual: /^flags\s*:.*\bhypervisor\b/m.test(information),
    memory_mib: Math.round(Number(/^MemTotal:\s*(\d+)/m.exec(read("/proc/meminfo"))?.[1]) / 1024),
    kernel: read("/proc/sys/kernel/osrelease"),
    congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
    governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    boost: read("/sys/devices/system/cpu/cpufreq/boost"),
    huge_pages: /\[(\w+)\]/.exec(read("/sys/kernel/mm/transparent_hugepage/enabled") ?? "")?.[1],
    descriptors: descriptorLimit(),
    mitigations: mitigations(),
  };
}

/** The weaknesses of this CPU that the kernel knows, with what it does about each. */
function mitigations() {
  let names;
  try {
    names = readdirSync(VULNERABILITIES);
  } catch {
    return {};
  }
  const states = names.map((name) => [name, read(`${VULNERABILITIES}/${name}`)]);
  return Object.fromEntries(states.filter(([, state]) => state !== "Not affected"));
}

/** The most descriptors a child may have. */
export function descriptorLimit() {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(read("/proc/self/limits"))?.[1];
  return hard === "unlimited" ? 1_048_576 : Number(hard);
}

/** The cores that this process may use. */
export function allowedCores() {
  const list = /^Cpus_allowed_list:\s*(.+)$/m.exec(read("/proc/self/status"))?.[1] ?? "";
  return parseCores(list);
}

/** `0-2,5` as numbers. */
export function parseCores(list) {
  return list.split(",").flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/**
 * One core for the server and another for the load generator: if possible, not two threads of the
 * same core.
 */
export function chooseCores(cores, siblingsOf = siblings) {
  if (cores.length < 2) throw new Error("two cores are needed: one for the server, one for swarm");
  const [server, ...others] = cores;
  const same = siblingsOf(server);
  const swarm = others.find((core) => !same.includes(core)) ?? others[0];
  return { server, swarm, shared: same.includes(swarm) };
}

function siblings(core) {
  const list = read(`/sys/devices/system/cpu/cpu${core}/topology/thread_siblings_list`);
  return list ? parseCores(list) : [core];
}

/** The load average of the last minute. */
export function loadAverage() {
  return loadavg()[0];
}

/**
 * Cores that others keep busy, over so many milliseconds in which nothing of ours runs; and, apart
 * from it, those that the host took away.
 */
export async function busyElsewhere(time_ms) {
  const before = processorTicks();
  const began_ms = performance.now();
  await new Promise((resolve) => setTimeout(resolve, time_ms));
  const seconds = (performance.now() - began_ms) / 1000;
  const after = processorTicks();
  const cores = (key) => round2((after[key] - before[key]) / CLOCK_TICKS_PER_S / seconds);
  return { busy: cores("busy"), stolen: cores("stolen") };
}

function processorTicks() {
  const words = read("/proc/stat").split("\n", 1)[0].trim().split(/\s+/).slice(1).map(Number);
  const [user, nice, system, , , interrupts, softInterrupts, stolen] = words;
  return { busy: user + nice + system + interrupts + softInterrupts, stolen };
}

/** Resident memory of a process in KiB, exactly; null when it is gone. */
export function residentKib(pid) {
  const kib = /^Rss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`) ?? "")?.[1];
  return kib === undefined ? null : Number(kib);
}

/** Whether a process exists and has not ended. */
export function isRunning(pid) {
  const state = /\) (\S)/.exec(read(`/proc/${pid}/stat`) ?? "")?.[1];
  return state !== undefined && state !== "Z" && state !== "X";
}

function round2(number) {
  return Math.round(number * 100) / 100;
}

function read(path) {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}
