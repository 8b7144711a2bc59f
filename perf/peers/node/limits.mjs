// Limits that are set where a library's own would lose messages that other peers deliver.

/** Bytes waiting for one client, beyond which uWebSockets and Bun skip it (64 KiB by default). */
export const MAX_BACKPRESSURE_BYTES = 16 * 1024 * 1024;

/** Longest message that is taken from a client: the default of Socket.IO, for the plain peers. */
export const MAX_PAYLOAD_BYTES = 1_000_000;
