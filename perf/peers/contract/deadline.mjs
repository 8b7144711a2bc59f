// Nothing here waits forever.

/** Longest that a server may take over one message, be it the slowest on a busy machine. */
let messageDeadline_ms = 5_000;

/** Sets that to something shorter, where the servers are known to be quick or not to answer. */
export function setMessageDeadline(deadline_ms) {
  messageDeadline_ms = deadline_ms;
}

/** What `promise` resolves to; rejects, naming `what`, if that takes too long. */
export async function within(promise, what, deadline_ms = messageDeadline_ms) {
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
