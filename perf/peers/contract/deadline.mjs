// Nothing here waits forever.

/** Longest that a server may take over one message, be it the slowest on a busy machine. */
let messageDeadlineMs = 5_000;

/** Sets that to something shorter, where the servers are known to be quick or not to answer. */
export function setMessageDeadline(deadlineMs) {
  messageDeadlineMs = deadlineMs;
}

/** What `promise` resolves to; rejects, naming `what`, if that takes too long. */
export async function within(promise, what, deadlineMs = messageDeadlineMs) {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`${what}: nothing came within ${deadlineMs} ms`);
    timer = setTimeout(reject, deadlineMs, error);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
