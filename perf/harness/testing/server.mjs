// Stands in for a server: listens, says so, ends when asked to.
//   node server.mjs BEHAVIOUR --listen ADDRESS:PORT
import { createServer } from "node:net";

const [behaviour, , address] = process.argv.slice(2);
const [host, port] = address.split(":");
process.once("SIGTERM", () => process.exit(0));

if (behaviour === "broken") {
  console.error("a configuration that nobody can read");
  process.exit(1);
}
createServer().listen(Number(port), host, () => console.log(`listening on ${address}`));
