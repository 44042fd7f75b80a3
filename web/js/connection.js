// Calls to a worker, each with an id, so that several can be under way.

import { EngineFailure, unpack } from "./errors.js";

export class Connection {
  /** Gets what concerns no call. */
  onevent = () => {};
  #worker;
  #calls = new Map();
  #next = 0;
  #closed;

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      this.close(new EngineFailure(event.message || "the worker could not be started"));
    };
  }

  /**
   * Has the worker do something. `onEvent` sees what it reports meanwhile. With an aborted `signal` it ends early:
   * the call fails with the signal's reason once the worker has stopped.
   */
  call(type, value, { signal, onEvent } = {}) {
    if (this.#closed) return Promise.reject(this.#closed);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const abort = () => this.#worker.postMessage({ id, type: "abort" });
      signal?.addEventListener("abort", abort);
      const settle = (end) => (value) => {
        signal?.removeEventListener("abort", abort);
        if (signal?.aborted) reject(signal.reason);
        else end(value);
      };
      this.#calls.set(id, { onEvent, abort, resolve: settle(resolve), reject: settle(reject) });
      this.#worker.postMessage({ id, type, value });
    });
  }

  /** Ends all calls early. */
  abortAll() {
    for (const { abort } of this.#calls.values()) abort();
  }

  #receive({ id, event, result, error, fatal }) {
    if (fatal) {
      this.close(unpack(fatal));
      return;
    }
    const call = this.#calls.get(id);
    if (event) {
      if (id === undefined) this.onevent(event);
      else call?.onEvent?.(event);
      return;
    }
    this.#calls.delete(id);
    if (error) call?.reject(unpack(error));
    else call?.resolve(result);
  }

  /** Ends the worker; calls under way, and later ones, fail with `reason`. */
  close(reason) {
    if (this.#closed) return;
    this.#closed = reason;
    this.#worker.terminate();
    for (const { reject } of this.#calls.values()) reject(reason);
    this.#calls.clear();
  }
}
