// Drawing: a canvas that knows where its text lies, scales, and three kinds of panel.

export const INK = {
  strong: "#14181f",
  text: "#3b4450",
  faint: "#68727f",
  grid: "#e9ecf0",
  axis: "#aab2bd",
  whisker: "#1f2630",
  card: "#ffffff",
  edge: "#dfe3e8",
};

/** One hue for what this is about; the others differ in lightness, which every eye sees. */
export const KINDS = {
  fanfare: { fill: "#0068b5", stroke: "#0068b5", words: "fanfare" },
  socketio: { fill: "#8b96a5", stroke: "#8b96a5", words: "Socket.IO servers" },
  plain: { fill: "#cfd6de", stroke: "#b3bcc7", words: "plain WebSocket servers" },
  limit: { fill: "#ffffff", stroke: "#68727f", dash: "3 2", words: "bare send loop" },
};

const FONT = "-apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif";
const ROW_HEIGHT = 22;
const BAR_HEIGHT = 13;

/** Shapes in the order in which they are drawn, and the boxes of all text. */
export class Canvas {
  #shapes = [];
  boxes = [];

  constructor(width) {
    this.width = width;
  }

  rect(x, y, width, height, attributes) {
    this.#add("rect", { x, y, width, height, ...attributes });
  }

  line(x1, y1, x2, y2, attributes) {
    this.#add("line", { x1, y1, x2, y2, ...attributes });
  }

  circle(cx, cy, r, attributes) {
    this.#add("circle", { cx, cy, r, ...attributes });
  }

  path(d, attributes) {
    this.#add("path", { d, fill: "none", ...attributes });
  }

  text(
    x,
    y,
    content,
    { size = 12, weight = 400, anchor = "start", fill = INK.text, ...more } = {},
  ) {
    const width = textWidth(content, size, weight);
    const left = { start: x, middle: x - width / 2, end: x - width }[anchor];
    const box = { content, left, right: left + width, top: y - size * 0.75, bottom: y };
    if (!more.transform) this.boxes.push(box);
    const attributes = { x, y, "font-size": size, "font-weight": weight, fill, ...more };
    if (anchor !== "start") attributes["text-anchor"] = anchor;
    this.#add("text", attributes, escape(content));
  }

  #add(name, attributes, content) {
    const words = Object.entries(attributes).map(([key, value]) => `${key}="${number(value)}"`);
    const start = `<${name} ${words.join(" ")}`;
    this.#shapes.push(content === undefined ? `${start}/>` : `${start}>${content}</${name}>`);
  }

  /** The picture, on a white card of its own: it reads on light pages and on dark ones. */
  toString(height, title, description) {
    const { width } = this;
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${number(height)}" ` +
        `width="${width}" height="${number(height)}" role="img" font-family="${FONT}">`,
      `<title>${escape(title)}</title>`,
      `<desc>${escape(description)}</desc>`,
      `<rect x="0.5" y="0.5" width="${width - 1}" height="${number(height - 1)}" rx="10" ` +
        `fill="${INK.card}" stroke="${INK.edge}"/>`,
      ...this.#shapes,
      "</svg>",
      "",
    ].join("\n");
  }
}

function number(value) {
  return typeof value === "number" ? Math.round(value * 10) / 10 : value;
}

function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

const NARROW = /[ijl.,:;'|!()[\] \-ftr/]/;
const WIDE = /[mwMW%]/;

/** About how wide text is in the fonts above; rather too wide than too narrow. */
export function textWidth(content, size, weight = 400) {
  let ems = 0;
  for (const character of content) {
    if (NARROW.test(character)) ems += 0.34;
    else if (WIDE.test(character)) ems += 0.88;
    else if (/[A-Z×→†]/.test(character)) ems += 0.7;
    else ems += 0.57;
  }
  return ems * size * (weight >= 600 ? 1.06 : 1);
}

/** A linear scale from 0, with ticks at round numbers. */
export function linearScale(most, from, to) {
  const step = roundStep(most / 4);
  const ticks = [];
  for (let tick = 0; tick <= most * 1.0001; tick += step) ticks.push(tick);
  return { at: (value) => from + ((to - from) * value) / most, ticks };
}

/** 1, 2 or 5 times a power of ten, not below what is asked. */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((multiple) => multiple * power >= least);
}

/** A logarithmic scale over all values, with ticks at 1, 2 and 5 times powers of ten. */
export function logScale(values, from, to) {
  const positive = values.filter((value) => value > 0);
  const low = Math.log10(Math.min(...positive)) - 0.05;
  const high = Math.log10(Math.max(...positive)) + 0.05;
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const multiple of [1, 2, 5]) {
      const tick = multiple * 10 ** power;
      if (Math.log10(tick) >= low && Math.log10(tick) <= high) ticks.push(tick);
    }
  }
  const at = (value) => from + ((to - from) * (Math.log10(value) - low)) / (high - low);
  return { at, ticks };
}

/** Moves labels apart until each has its room, as near as possible to where it belongs. */
export function dodge(wanted, room, top, bottom) {
  const places = wanted.map((y, index) => ({ y, index })).toSorted((a, b) => a.y - b.y);
  let previous = top - room;
  for (const place of places) {
    place.y = Math.max(place.y, previous + room);
    previous = place.y;
  }
  let next = bottom + room;
  for (const place of places.toReversed()) {
    place.y = Math.min(place.y, next - room);
    next = place.y;
  }
  return places.toSorted((a, b) => a.index - b.index).map(({ y }) => y);
}

/** A round number on an axis: 0.5, 10, 500 k, 1.5 M. */
export function tickWords(tick) {
  const [size, letter] = tick >= 1e6 ? [1e6, " M"] : tick >= 1e5 ? [1e3, " k"] : [1, ""];
  return Number((tick / size).toPrecision(6)).toLocaleString("en-US") + letter;
}

/** The height that a panel with so many rows takes. */
export function panelHeight(rows) {
  return 30 + rows * ROW_HEIGHT + 40;
}

/** How many times the next lower value one is that would squeeze all others. */
const FAR = 4;

/**
 * Where one or two values stand far above all others, bars end at the others' scale: those are cut,
 * and their numbers say how long they would be.
 */
export function scaleEnd(values) {
  const sorted = values.toSorted((a, b) => b - a);
  const far = sorted.findLastIndex((value, index) => {
    return index < 2 && index + 1 < sorted.length && value > FAR * sorted[index + 1];
  });
  return sorted.length > 3 && far >= 0 ? sorted[far + 1] : (sorted[0] ?? 1);
}

/** Bars, one for each row: { name, kind, value, min, max, text }; those without a value say why. */
export function barPanel(canvas, { x, y, width, title, unit, rows, names }) {
  canvas.text(x, y + 12, title, { size: 14, weight: 600, fill: INK.strong });
  const measured = rows.filter((row) => row.value !== null);
  const end = scaleEnd(measured.map((row) => row.max));
  const textRoom = Math.max(...measured.map((row) => textWidth(row.text, 12, 600)), 0) + 8;
  const left = x + names + 8;
  const right = x + width - textRoom;
  const scale = linearScale(end, left, right);
  const top = y + 28;
  const bottom = top + rows.length * ROW_HEIGHT;
  axis(canvas, scale, { top, bottom, left, right, unit });
  rows.forEach((row, index) => {
    const middle = top + (index + 0.5) * ROW_HEIGHT;
    rowName(canvas, row, left - 8, middle);
    if (row.value === null) {
      canvas.text(left + 6, middle + 4, row.text, { size: 11, fill: INK.faint });
      return;
    }
    bar(canvas, row, scale, { left, right, end, middle });
  });
  canvas.line(left, top, left, bottom, { stroke: INK.axis });
  return bottom;
}

function bar(canvas, row, scale, { left, right, end, middle }) {
  const kind = KINDS[row.kind];
  const cut = row.value > end;
  const barEnd = cut ? right : scale.at(row.value);
  const style = { fill: kind.fill, stroke: kind.stroke, "stroke-dasharray": kind.dash ?? "none" };
  const top = middle - BAR_HEIGHT / 2;
  canvas.rect(left, top, Math.max(barEnd - left, 1), BAR_HEIGHT, style);
  if (cut) {
    for (const offset of [14, 20]) {
      const from = right - offset;
      const slanted = `M${from} ${top + BAR_HEIGHT + 2} L${from + 5} ${top - 2}`;
      canvas.path(slanted, { stroke: INK.card, "stroke-width": 2.5 });
    }
  } else if (row.max > row.min) {
    whisker(canvas, scale.at(row.min), Math.min(scale.at(row.max), right), middle);
  }
  const textAt = cut ? right : Math.min(Math.max(barEnd, scale.at(row.max)), right);
  const strong = row.kind === "fanfare";
  canvas.text(textAt + 6, middle + 4, row.text, {
    weight: strong ? 600 : 400,
    fill: strong ? kind.fill : INK.text,
  });
}

function whisker(canvas, from, to, middle) {
  // A light edge below: it shows on dark bars, too.
  const edge = { stroke: INK.card, "stroke-width": 3, "stroke-opacity": 0.75 };
  for (const style of [edge, { stroke: INK.whisker, "stroke-width": 1 }]) {
    canvas.line(from, middle, to, middle, style);
    for (const end of [from, to]) canvas.line(end, middle - 3, end, middle + 3, style);
  }
}

/** Ranges on a logarithmic axis: { name, kind, p50, p99, most, text }. */
export function rangePanel(canvas, { x, y, width, title, unit, rows, names }) {
  canvas.text(x, y + 12, title, { size: 14, weight: 600, fill: INK.strong });
  const measured = rows.filter((row) => row.p50 !== null);
  const textRoom = Math.max(...measured.map((row) => textWidth(row.text, 12, 600)), 0) + 14;
  const left = x + names + 8;
  const right = x + width - textRoom;
  const scale = logScale(
    measured.flatMap((row) => [row.p50, row.p99, row.most]),
    left + 6,
    right,
  );
  const top = y + 28;
  const bottom = top + rows.length * ROW_HEIGHT;
  axis(canvas, scale, { top, bottom, left, right, unit });
  rows.forEach((row, index) => {
    const middle = top + (index + 0.5) * ROW_HEIGHT;
    rowName(canvas, row, left - 8, middle);
    if (row.p50 === null) {
      canvas.text(left + 6, middle + 4, row.text, { size: 11, fill: INK.faint });
      return;
    }
    range(canvas, row, scale, middle);
    const strong = row.kind === "fanfare";
    canvas.text(x + width, middle + 4, row.text, {
      anchor: "end",
      weight: strong ? 600 : 400,
      fill: strong ? KINDS.fanfare.fill : INK.text,
    });
  });
  return bottom;
}

function range(canvas, row, scale, middle) {
  const { stroke, fill } = KINDS[row.kind];
  const [from, to, most] = [row.p50, row.p99, row.most].map(scale.at);
  canvas.line(from, middle, most, middle, { stroke, "stroke-width": 1 });
  canvas.line(from, middle, to, middle, { stroke, "stroke-width": 4 });
  canvas.line(most, middle - 4, most, middle + 4, { stroke, "stroke-width": 1 });
  const inside = row.kind === "limit" ? INK.card : fill;
  canvas.circle(from, middle, 4.5, { fill: inside, stroke, "stroke-width": 1.5 });
  canvas.circle(to, middle, 4.5, { fill: INK.card, stroke, "stroke-width": 2 });
}

function axis(canvas, scale, { top, bottom, left, right, unit }) {
  let free = -Infinity;
  for (const tick of scale.ticks) {
    const at = scale.at(tick);
    canvas.line(at, top, at, bottom, { stroke: INK.grid });
    const words = tickWords(tick);
    const half = textWidth(words, 11) / 2;
    if (at - half < free) continue;
    canvas.text(at, bottom + 14, words, { size: 11, anchor: "middle", fill: INK.faint });
    free = at + half + 6;
  }
  canvas.text((left + right) / 2, bottom + 30, unit, {
    size: 11,
    anchor: "middle",
    fill: INK.faint,
  });
}

function rowName(canvas, row, right, middle) {
  const strong = row.kind === "fanfare";
  canvas.text(right, middle + 4, row.name, {
    anchor: "end",
    weight: strong ? 600 : 400,
    fill: strong ? KINDS.fanfare.fill : INK.text,
  });
}

/** The room that the names of rows take. */
export function namesWidth(rows) {
  return Math.max(
    ...rows.map((row) => textWidth(row.name, 12, row.kind === "fanfare" ? 600 : 400)),
    0,
  );
}

/** Lines over a horizontal axis: { name, kind, dash, points: [{ at, value, min, max }] }. */
export function linePanel(canvas, { x, y, width, height, units, lines, format }) {
  const values = lines.flatMap((line) => line.points.flatMap(({ min, max }) => [min, max]));
  const places = [...new Set(lines.flatMap((line) => line.points.map(({ at }) => at)))];
  const labels = lines.map((line) => `${line.name}  ${format(line.points.at(-1).value)}`);
  const labelRoom = Math.max(...labels.map((label) => textWidth(label, 12, 600)), 0) + 34;
  const [left, right, top, bottom] = [x + 56, x + width - labelRoom, y + 8, y + height - 44];
  const vertical = logScale(values, bottom, top);
  const most = Math.max(...places);
  const across = (value) => left + ((right - left) * value) / most;
  for (const tick of vertical.ticks) {
    const at = vertical.at(tick);
    canvas.line(left, at, right, at, { stroke: INK.grid });
    const style = { size: 11, anchor: "end", fill: INK.faint };
    canvas.text(left - 8, at + 4, tickWords(tick), style);
  }
  canvas.line(left, bottom, right, bottom, { stroke: INK.axis });
  for (const place of places) {
    const style = { size: 11, anchor: "middle", fill: INK.faint };
    canvas.line(across(place), bottom, across(place), bottom + 4, { stroke: INK.axis });
    canvas.text(across(place), bottom + 18, tickWords(place), style);
  }
  const style = { size: 11, anchor: "middle", fill: INK.faint };
  canvas.text((left + right) / 2, bottom + 36, units.across, style);
  const turned = { ...style, transform: `rotate(-90 ${x + 12} ${(top + bottom) / 2})` };
  canvas.text(x + 12, (top + bottom) / 2, units.up, turned);
  // What is highlighted is drawn last, above the others.
  const ordered = lines.toSorted((a, b) => (a.kind === "fanfare") - (b.kind === "fanfare"));
  for (const line of ordered) oneLine(canvas, line, across, vertical.at);
  labelLines(canvas, lines, labels, { across, vertical: vertical.at, right, top, bottom });
}

function oneLine(canvas, line, across, vertical) {
  const { stroke } = KINDS[line.kind];
  const strong = line.kind === "fanfare";
  const steps = line.points.map(({ at, value }, index) => {
    return `${index === 0 ? "M" : "L"}${number(across(at))} ${number(vertical(value))}`;
  });
  const dash = line.dash ?? "none";
  const style = { stroke, "stroke-width": strong ? 3 : 1.8, "stroke-dasharray": dash };
  canvas.path(steps.join(" "), style);
  for (const { at, value, min, max } of line.points) {
    if (max > min) canvas.line(across(at), vertical(min), across(at), vertical(max), { stroke });
    canvas.circle(across(at), vertical(value), strong ? 4 : 3, { fill: stroke });
  }
}

function labelLines(canvas, lines, labels, { across, vertical, right, top, bottom }) {
  const ends = lines.map((line) => line.points.at(-1));
  const places = dodge(
    ends.map(({ value }) => vertical(value)),
    16,
    top + 4,
    bottom,
  );
  lines.forEach((line, index) => {
    const [end, place] = [ends[index], places[index]];
    const strong = line.kind === "fanfare";
    const from = across(end.at) + 6;
    const path =
      `M${number(from)} ${number(vertical(end.value))} L${right + 8} ` +
      `${number(vertical(end.value))} L${right + 22} ${number(place)}`;
    canvas.path(path, { stroke: INK.axis, "stroke-width": 0.8, "stroke-dasharray": "1 2" });
    canvas.text(right + 26, place + 4, labels[index], {
      weight: strong ? 600 : 400,
      fill: strong ? KINDS.fanfare.fill : INK.text,
    });
  });
}
