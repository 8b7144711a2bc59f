// Waiting for events, always with a deadline. Runs in Node and in a browser.

// Far more than a busy machine needs: nothing waits for it but what has failed.
export const DEADLINE_MS = 20_000;

/** The arguments of the next such event. */
export function next(emitter, event) {
  return withDeadline(event, new Promise((resolve) => {
    emitter.once(event, (...args) => resolve(args));
  }));
}

/** Collects every such event from now on; `take` waits for them in order. */
export class Inbox {
  #event;
  #arrived = [];
  #wake = () => {};

  constructor(emitter, event) {
    this.#event = event;
    emitter.on(event, (...args) => {
      this.#arrived.push(args);
      this.#wake();
    });
  }

  /** How many have come and were not taken. */
  get size() {
    return this.#arrived.length;
  }

  /** The next `count` events, each as its list of arguments. */
  async take(count = 1) {
    await withDeadline(`${count} of ${this.#event}`, new Promise((resolve) => {
      this.#wake = () => this.#arrived.length >= count && resolve();
      this.#wake();
    }));
    return this.#arrived.splice(0, count);
  }

  /** All that have come until now. */
  drain() {
    return this.#arrived.splice(0);
  }
}

/** Why the server says that this socket left, told by another socket's `gone` events. */
export async function reasonOf(gone, id) {
  for (;;) {
    const [[who, reason]] = await gone.take();
    if (who === id) return reason;
  }
}

/** Rejects, naming what was waited for, when the deadline passes before the promise settles. */
export function withDeadline(what, promise, deadlineMs = DEADLINE_MS) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      reject(new Error(`${what} did not come within ${deadlineMs} ms`));
    }, deadlineMs);
    promise.then(resolve, reject).finally(() => clearTimeout(late));
  });
}
