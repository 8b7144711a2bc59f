// Nothing here waits forever.

/** Longest that a server may take over one message, be it the slowest on a busy machine. */
const MESSAGE_DEADLINE_MS = 5_000;

/** What `promise` resolves to; rejects, naming `what`, if that takes too long. */
export async function within(promise, what, deadline_ms = MESSAGE_DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`${what}: nothing came within ${deadline_ms} ms`);
    timer = setTimeout(reject, deadline_ms, error);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
