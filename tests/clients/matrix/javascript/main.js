// Drives the socket.io-client of one npm package: `node main.js PACKAGE PLAN`. A parser that the
// plan names is a package of its own.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { run } from "./scenarios.js";

const [name, planJson] = process.argv.slice(2);
const plan = JSON.parse(planJson);
const require = createRequire(import.meta.url);
const io = require(name);
// By its path: not every version lets its package.json be imported.
const manifest = fileURLToPath(
  new URL(`../../node_modules/${name}/package.json`, import.meta.url),
);

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

say({ version: require(manifest).version });
const options = plan.parser ? { parser: require(`socket.io-${plan.parser}-parser`) } : {};
await run(io, plan, (transport, scenario, error) => say({ transport, scenario, error }), options);
