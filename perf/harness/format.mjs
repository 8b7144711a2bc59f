// Numbers as people read them.
import { ROUNDS_FOR_A_MEDIAN } from "./statistics.mjs";

/** A count. */
export function whole(number) {
  return number.toLocaleString("en-US");
}

/** Three significant digits; from 1,000 on whole, with separators. */
export function significant(number) {
  const magnitude = Math.abs(number);
  if (magnitude >= 1000) return Math.round(number).toLocaleString("en-US");
  if (magnitude < 0.0005) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(magnitude)));
  return number.toFixed(Math.min(digits, magnitude < 0.01 ? 4 : 3));
}

/** Something per second: 1.35 M, 142 k, 14.3 k, 7,060. */
export function rate(number) {
  if (number >= 999_500) return `${(number / 1e6).toFixed(2)} M`;
  if (number >= 9_995) return `${significant(number / 1e3)} k`;
  return significant(number);
}

/** A share or a factor. */
export function factor(number) {
  return number.toFixed(2);
}

/**
 * Median and range. Of fewer rounds than a median deserves, it says how many there were: no figure
 * can be taken for more than it is.
 */
export function cell(spread, format = significant) {
  if (spread === null) return "–";
  const { n, median, min, max } = spread;
  const few = n < ROUNDS_FOR_A_MEDIAN ? `n=${n}` : null;
  const range = n > 1 ? `${format(min)}–${format(max)}` : null;
  const details = [range, few].filter(Boolean).join(", ");
  return `${format(median)} (${details})`;
}

/** What figures of so many rounds each are. */
export function ofRounds(counts) {
  if (counts.length === 0) return "nothing measured";
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  if (most === 1) return "single runs, no medians";
  const range = least === most ? `${least}` : `${least} to ${most}`;
  if (least >= ROUNDS_FOR_A_MEDIAN) return `medians of ${range} interleaved rounds`;
  return `medians of only ${range} rounds`;
}

/** A table in Markdown, from rows of cells. */
export function table(head, rows) {
  const line = (cells) =>
    `| ${cells.map((text) => `${text}`.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...rows.map(line)].join("\n");
}
