// What readers see: tables, figures and plots made from made-up results.
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { charts } from "./charts.mjs";
import { figuresToReach } from "./figures.mjs";
import { linesOfJson } from "./inside.mjs";
import { readme } from "./readme.mjs";
import { render } from "./render.mjs";
import { Results } from "./results.mjs";
import { SCENARIOS } from "./scenarios.mjs";
import { Store } from "./store.mjs";
import { figuresTable, loadTable, memoryTable } from "./tables.mjs";
import { folderWithPeers } from "./testing/folder.mjs";
import { sample } from "./testing/sample.mjs";

const root = folderWithPeers();
after(() => rmSync(root, { recursive: true }));

const W16 = "fanout-1000-64-w16";
const W1 = "fanout-1000-64-w1";

/** Results of which some records are changed. */
function results(change = (record) => record, rounds = 5) {
  const { records, campaign } = sample({ root, rounds });
  return new Results({
    campaign,
    records: records.map(change).filter((record) => record !== null),
  });
}

function row(text, name) {
  return text
    .split("\n")
    .find((line) => line.startsWith(`| ${name} |`) || line.includes(`**${name}**`));
}

function reached(found, what) {
  return figuresToReach(found).find((figure) => figure.what.startsWith(what)).reached;
}

const fail = (record) => ({ ...record, outcome: "failed", reason: "exit status 3", result: null });
const of = (server, scenario, change) => (record) => {
  return record.server === server && record.scenario === scenario ? change(record) : record;
};
const worse = (key, factor) => (record) => {
  return { ...record, result: { ...record.result, [key]: record.result[key] * factor } };
};

test("a server that reorders messages is shown with how often", () => {
  assert.match(row(loadTable(results(), W16), "socketioxide"), /reordered 138,000, in 5 of 5 runs/);
});

test("runs that failed are counted in the table, not left out", () => {
  const some = results(of("node-ws", W1, (record) => (record.round < 3 ? fail(record) : record)));
  const found = row(loadTable(some, W1), "node-ws");
  assert.match(found, /n=3/);
  assert.match(found, /2 of 5 runs failed: exit status 3/);
});

test("whoever was not measured has a row with the reason", () => {
  const table = loadTable(results(), "fanout-10000-64-w1");
  assert.match(row(table, "python"), /too few fit/);
  assert.match(row(table, "node-eiows"), /not available/);
  const without = results(of("ws-plain", W1, () => null));
  assert.match(row(loadTable(without, W1), "ws-plain"), /not measured/);
  assert.match(row(memoryTable(results()), "python"), /18,000 take over half a minute/);
});

test("fewer than five rounds are never shown as if they were enough", () => {
  const text = readme(results(undefined, 3), []);
  assert.match(text, /medians of only 3 rounds/);
  for (const line of loadTable(results(undefined, 3), W1).split("\n").slice(2)) {
    assert.match(line, /n=3|not available/);
  }
  assert.match(readme(results(undefined, 1), []), /single runs, no medians/);
});

test("a busy machine is told at the top", () => {
  const { records, campaign } = sample({ root });
  const session = { ...campaign.sessions[0], load_average: 1.7 };
  const busy = records.map((record, index) => ({ ...record, busy_elsewhere: index < 4 ? 0.4 : 0 }));
  const text = readme(
    new Results({ records: busy, campaign: { ...campaign, sessions: [session] } }),
    [],
  );
  assert.match(text, /\*\*The machine was busy.*load average 1\.70/);
  assert.match(text, /\*\*4 of \d+ runs began while something else used/);
});

test("whether a figure is reached is computed from what was measured", () => {
  const idle = "resident memory per idle WebSocket client";
  assert.equal(reached(results(), idle), true);
  const heavier = results(of("fanfare", "idle-18000", worse("rss_per_client_kib", 1.3)));
  assert.equal(reached(heavier, idle), false);
  assert.equal(reached(results(of("fanfare", "idle-18000", () => null)), idle), null);
});

test("ratios are to the bare send loop of the same round", () => {
  const what = "CPU per delivery, 1,000 clients, 64 B, 1 under way";
  assert.equal(reached(results(), what), true);
  // A machine that is ten times as slow in one round changes no ratio.
  const slow = (record) => {
    const affected = record.scenario === W1 && record.round === 2;
    return affected ? worse("server_cpu_us", 10)(record) : record;
  };
  const figure = figuresToReach(results(slow)).find((found) => found.what === what);
  assert.ok(figure.spread.max < 1.3);
  assert.equal(reached(results(of("fanfare", W1, worse("server_cpu_us", 1.2))), what), false);
  assert.equal(reached(results(of("limit-send", W1, () => null)), what), null);
});

test("a figure is not reached by runs of which one went wrong", () => {
  const what = "CPU per delivery, 1,000 clients, 64 B, 16 under way";
  assert.equal(reached(results(), what), true);
  const once = of("fanfare", W16, (record) => (record.round === 1 ? fail(record) : record));
  assert.equal(reached(results(once), what), false);
  assert.match(figuresTable(results(once)), /\*\*no\*\* \(1 of 5 runs failed\)/);
});

test("the best plain peer is one that made no mistake", () => {
  const what = "deliveries/s, 1,000 clients";
  const cheat = (record) => {
    const faster = worse("deliveries_per_s", 9)(record);
    return { ...faster, outcome: "faulty", result: { ...faster.result, lost: 5 } };
  };
  const found = figuresToReach(results(of("ws-plain", W16, cheat)));
  assert.match(found.find((figure) => figure.what.startsWith(what)).wanted, /uws-plain/);
});

test("one lost message anywhere is one too many", () => {
  const what = "lost, repeated";
  assert.equal(reached(results(), what), true);
  const lose = (record) => ({
    ...record,
    outcome: "faulty",
    result: { ...record.result, lost: 1 },
  });
  const once = of("fanfare", "churn-50", (record) => (record.round === 4 ? lose(record) : record));
  assert.equal(reached(results(once), what), false);
});

test("every scenario is in the report, and every plot that it shows exists", () => {
  const found = results();
  const drawn = charts(found).map(({ file }) => file);
  const text = readme(found, drawn);
  for (const { title } of SCENARIOS.filter(({ mode, soak }) => mode !== "idle" && !soak)) {
    assert.ok(text.includes(title), title);
  }
  const shown = [...text.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g)].map((match) => match[1]);
  assert.deepEqual(shown.toSorted(), drawn.toSorted());
});

test("a small machine does not claim to show how shards scale", () => {
  const { records, campaign } = sample({ root });
  const on = (cores) => {
    const list = Array.from({ length: cores }, (_, core) => core);
    const changed = { ...campaign, cores: { ...campaign.cores, cores: list } };
    return readme(new Results({ records, campaign: changed }), []);
  };
  assert.match(on(2), /neither pinned/);
  assert.match(on(16), /a core of its own in the first half/);
});

test("no path of the machine gets into the report", () => {
  const text = readme(results(), []);
  assert.ok(!text.includes(root) && !/\/(home|tmp|root|work)\//.test(text));
});

test("in every plot, text lies inside and never on other text", () => {
  const all = [results(), results(undefined, 1), results(of("fanfare", W1, fail))];
  for (const { file, canvas, svg } of all.flatMap(charts)) {
    const height = Number(/height="([\d.]+)"/.exec(svg)[1]);
    for (const [index, box] of canvas.boxes.entries()) {
      const inside = box.left >= 0 && box.right <= canvas.width && box.bottom <= height;
      assert.ok(inside, `${file}: ${box.content} leaves the picture`);
      for (const other of canvas.boxes.slice(index + 1)) {
        assert.ok(apart(box, other), `${file}: ${box.content} lies on ${other.content}`);
      }
    }
  }
});

function apart(a, b) {
  return a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
}

test("a server that cheats is marked in the plots, too", () => {
  const { svg } = charts(results()).find(({ file }) => file === "headline.svg");
  assert.match(svg, /socketioxide †/);
  assert.match(svg, /† messages were reordered/);
});

test("drawing again from the raw data gives the same files", () => {
  const { records, campaign } = sample({ root });
  const store = new Store(root);
  store.saveCampaign(campaign);
  for (const record of records) store.append(record);
  const files = render(store, root);
  const before = files.map((file) => readFileSync(join(root, file), "utf8"));
  render(new Store(root), root);
  assert.deepEqual(
    files.map((file) => readFileSync(join(root, file), "utf8")),
    before,
  );
});

test("without raw data there is no report", () => {
  const { campaign } = sample({ root, rounds: 1 });
  assert.throws(() => new Results({ records: [], campaign: null }), /nothing was measured/);
  assert.throws(() => new Results({ records: [], campaign }), /nothing was measured/);
});

test("figures in microseconds are also judged at the speed of the machine they were set on", () => {
  const echo = (found) =>
    figuresToReach(found).find(({ what }) => what.startsWith("CPU per echo, 100 clients, 1 under"));
  const slower = echo(results((record) => record.result && worse("server_cpu_us", 3)(record)));
  const before = echo(results());
  assert.ok(Math.abs(slower.there.value - before.there.value) < 1e-9);
  assert.equal(slower.there.reached, before.there.reached);
  assert.ok(slower.spread.median > 2.9 * before.spread.median);
  const onlyFanfare = echo(results(of("fanfare", "echo-100-w1", worse("server_cpu_us", 30))));
  assert.equal(onlyFanfare.there.reached, false);
});

test("what was measured without sockets has its table", () => {
  const { records, campaign } = results();
  const sessions = linesOfJson(
    '   Running benches/sessions.rs\n{"clients":1000,"keep_handshake":true,"heap_bytes_per_client":571.2}\n' +
      '{"clients":1000,"keep_handshake":false,"heap_bytes_per_client":363.1}\n',
  );
  const inside = { sessions, hop: [{ samples: 5000, hop_p50_us: 14.3, hop_p99_us: 40 }] };
  const text = readme(new Results({ campaign: { ...campaign, inside }, records }), []);
  assert.match(text, /\| 1,000 \| 571 \| 363 \|/);
  assert.match(text, /in 14\.3 µs \(median of 5,000; p99 40\.0 µs\)/);
  assert.doesNotMatch(readme(results(), []), /Without sockets/);
});
