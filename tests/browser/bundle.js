// Drives the client in one of the bundles that the server serves, in Chromium, through the matrix of
// tests/clients/matrix: `node bundle.js BUNDLE PLAN`.
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.js";

const CLIENTS = new URL("../clients/", import.meta.url);
// Where a page finds what lies in that folder; the server has nothing there.
const SCRIPTS = "/tests/clients/";

const [bundle, planJson] = process.argv.slice(2);
const plan = JSON.parse(planJson);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const source = await (await fetch(`${plan.url}/socket.io/${bundle}`)).text();
say({ version: /Socket\.IO v(\S+)/.exec(source)?.[1] });

const { browser, close } = await launch();
try {
  await browser.route(`**${SCRIPTS}**`, (route) => {
    const { pathname } = new URL(route.request().url());
    const file = new URL(pathname.slice(SCRIPTS.length), CLIENTS);
    return route.fulfill({ path: fileURLToPath(file) });
  });
  // A page may poll its own origin only, so what the relay is for has a page that came through it.
  await runOn(plan.relayUrl, (scenario) => scenario === "reconnect");
  await runOn(plan.url, (scenario) => scenario !== "reconnect");
} finally {
  await close();
}

async function runOn(origin, isHere) {
  const runs = plan.runs.map(({ transport, scenarios }) => {
    return { transport, scenarios: scenarios.filter(isHere) };
  });
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  await page.exposeFunction("report", (transport, scenario, error) => {
    say({ transport, scenario, error });
  });
  const address = `${origin}/socket.io/${bundle}`;
  // Shown as text, which makes a page of that origin; one that did not come from there would not be
  // allowed to open WebSockets to this machine.
  await page.goto(address);
  if (!bundle.includes(".esm.")) await page.addScriptTag({ url: address });
  const scenarios = `${origin}${SCRIPTS}matrix/javascript/scenarios.js`;
  await page.evaluate(runInPage, { plan: { ...plan, runs }, address, scenarios });
  await page.close();
}

/** In the page: the bundle has left its `io` there, or is a module. */
async function runInPage({ plan, address, scenarios }) {
  const { run } = await import(scenarios);
  const io = globalThis.io ?? (await import(address)).io;
  await run(io, plan, globalThis.report);
}
