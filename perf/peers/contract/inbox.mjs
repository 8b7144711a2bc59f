// What a client was sent.
import { within } from "./deadline.mjs";

/** The broadcasts that a client received, in their order. */
export class Inbox {
  #payloads = [];
  #failure = null;
  #changed = () => {};

  /** Takes in what came. */
  add(payload) {
    this.#payloads.push(payload);
    this.#changed();
  }

  /** The connection broke the contract, or ended; whoever waits for more is told why. */
  fail(error) {
    this.#failure ??= error;
    this.#changed();
  }

  /** The first `count` broadcasts; fewer, if the others do not come in time. */
  async take(count) {
    const enough = this.#until(() => this.#payloads.length >= count);
    await within(enough, "the broadcasts").catch(() => this.#throwFailure());
    return this.#payloads.splice(0, count);
  }

  /** All broadcasts up to this one. */
  async through(payload) {
    const found = this.#until(() => this.#payloads.includes(payload));
    await within(found, `"${payload.slice(0, 30)}"`);
    return this.#payloads.splice(0, this.#payloads.indexOf(payload) + 1);
  }

  async #until(condition) {
    this.#throwFailure();
    while (!condition()) {
      await new Promise((resolve) => (this.#changed = resolve));
      this.#throwFailure();
    }
  }

  #throwFailure() {
    if (this.#failure) {
      throw this.#failure;
    }
  }
}
