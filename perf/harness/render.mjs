// Draws the report from what was measured.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FILES, charts } from "./charts.mjs";
import { readme } from "./readme.mjs";
import { Results } from "./results.mjs";

/** Writes README.md and the plots into the folder; the names of the files. */
export function render(store, output) {
  const results = new Results(store);
  const drawn = charts(results);
  // A plot of data that is no longer there would be believed.
  for (const file of Object.values(FILES)) rmSync(join(output, file), { force: true });
  for (const { file, svg } of drawn) writeFileSync(join(output, file), svg);
  writeFileSync(
    join(output, "README.md"),
    readme(
      results,
      drawn.map(({ file }) => file),
    ),
  );
  return ["README.md", ...drawn.map(({ file }) => file)];
}
