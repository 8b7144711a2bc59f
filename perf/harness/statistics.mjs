// What several rounds say together: medians with their range, and ratios within a round.

/** Fewer rounds than this are not called a median without saying how many there were. */
export const ROUNDS_FOR_A_MEDIAN = 5;

/** The middle of the values; of an even number, the mean of the two in the middle. */
export function median(values) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median and range of those values that are numbers, or null when none is. */
export function spread(values) {
  const numbers = values.filter((value) => Number.isFinite(value));
  if (numbers.length === 0) return null;
  return {
    n: numbers.length,
    median: median(numbers),
    min: Math.min(...numbers),
    max: Math.max(...numbers),
  };
}

/** Median and range of one figure over runs. */
export function figure(runs, key) {
  return spread(runs.map((run) => run.result?.[key]));
}

/**
 * How many times the reference's figure it is: one ratio for each round that has both, then their
 * median. What disturbs a whole round disturbs both sides of its ratio.
 */
export function ratio(runs, reference, key) {
  const ofRound = new Map(reference.map((run) => [run.round, run.result?.[key]]));
  return spread(runs.map((run) => run.result?.[key] / ofRound.get(run.round)));
}
