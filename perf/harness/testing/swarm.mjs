// Stands in for the load generator: prints a result at once, as it is told to.
//   node swarm.mjs BEHAVIOUR MODE ...    with the load generator's own arguments
import { isRunning } from "../machine.mjs";

const [behaviour, mode] = process.argv.slice(2);

const result = {
  mode,
  deliveries: 1000,
  deliveries_per_s: 50_000,
  server_cpu_us: 5,
  rss_per_client_kib: 0.5,
  lost: 0,
  repeated: 0,
  reordered: 0,
  damaged: 0,
  disconnected: 0,
};

switch (behaviour) {
  case "reorders":
    result.reordered = 138_000;
    process.exitCode = 1;
    break;
  case "hides":
    // Claims success, though its own counts say otherwise.
    result.lost = 7;
    break;
  case "refused":
    console.error("connecting…\nthe target refused the connection");
    process.exit(3);
    break;
  case "hangs":
    // Tells the one that started it that it runs.
    process.kill(process.ppid, "SIGUSR2");
    setInterval(() => {}, 1000);
    break;
  case "kills": {
    const pid = Number(process.argv[process.argv.indexOf("--server-pid") + 1]);
    process.kill(pid, "SIGKILL");
    while (isRunning(pid));
    break;
  }
}
if (behaviour !== "hangs") console.log(JSON.stringify(result));
