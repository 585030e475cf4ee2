// What a page shows of the API, kept up to date by the live stream.

import { Refused, get, query } from './api.js';
import { floor, listen, position } from './feed.js';
import { batch, effect, signal, useEffect, useMemo } from './view.js';

/** Least time between two loads of one thing because of what the stream tells, in milliseconds, where it does not say. */
const APART = 400;

/** How many things are being loaded, or are known to be out of date. */
const unsettled = signal(0);

/** Waits for something else that is shown. @param {Promise<unknown>} work */
export function settling(work) {
  unsettled.value += 1;
  work.finally(() => { unsettled.value -= 1; });
}

/** Says on the document up to where in the log all that is shown has come, for tests and for whoever looks. */
export function showPosition() {
  effect(() => {
    const reached = position.value;
    if (unsettled.value > 0) return;
    // After what is shown has been drawn.
    const drawn = () => {
      if (unsettled.peek() === 0 && position.peek() === reached) document.body.dataset.position = String(reached);
    };
    if (document.hidden) setTimeout(drawn);
    else requestAnimationFrame(() => setTimeout(drawn));
  });
}

/**
 * @typedef {{ signal: AbortSignal, after: number }} Asked `after`: a position that the answer must not be before
 */

/**
 * Asks the API for something, as of no earlier than what has been told of it.
 * @param {string} path
 * @param {Parameters<typeof query>[0]} [parameters]
 * @returns {(asked: Asked) => Promise<any>}
 */
export const read = (path, parameters) => ({ signal, after }) => get(`${path}${query({ ...parameters, min_position: after || null })}`, signal);

/**
 * Something that is loaded, and loaded again when the stream says that it has changed. What was loaded is shown
 * until what follows it is there.
 * @template T
 */
export class Resource {
  /**
   * @param {(asked: Asked) => Promise<T & { position?: number }>} load
   * @param {(frame: import('./feed.js').Frame) => boolean} [concerns] whether a frame may have changed it
   * @param {{ apart?: number, isLate?: boolean }} [how] `isLate`: it may be older than the position that the page says
   */
  constructor(load, concerns, { apart = APART, isLate = false } = {}) {
    this.load = load;
    this.concerns = concerns;
    this.apart = apart;
    this.isLate = isLate;
    this.data = signal(/** @type {T | null} */ (null));
    this.error = signal(/** @type {Refused | null} */ (null));
    this.asOf = 0;
    /** What it was to be as of when it was last asked for, whatever came of it. */
    this.tried = 0;
    this.wanted = 0;
    this.begun = 0;
    this.timer = 0;
    this.isUnsettled = false;
    this.isStopped = false;
    /** @type {AbortController | null} */
    this.request = null;
    /** @type {(() => void)[]} */
    this.ends = [];
  }

  start() {
    this.isStopped = false;
    this.reload();
    if (this.concerns) {
      this.ends.push(listen((frames) => {
        const last = frames.findLast((frame) => this.concerns?.(frame));
        if (last && last.position > this.asOf) this.outdated(last.position);
      }));
    }
    this.ends.push(effect(() => {
      if (floor.value > this.tried && !this.request) this.outdated(floor.value);
    }));
    return () => this.stop();
  }

  stop() {
    this.isStopped = true;
    this.ends.forEach((end) => end());
    this.ends = [];
    this.request?.abort();
    clearTimeout(this.timer);
    this.settle(false);
  }

  /** @param {boolean} unsettledNow */
  settle(unsettledNow) {
    if (unsettledNow === this.isUnsettled || this.isLate) return;
    this.isUnsettled = unsettledNow;
    unsettled.value += unsettledNow ? 1 : -1;
  }

  /** @param {number} at something has changed at this position */
  outdated(at) {
    if (this.isStopped) return;
    this.wanted = Math.max(this.wanted, at);
    this.settle(true);
    if (this.request || this.timer) return;
    const pause = Math.max(0, this.begun + this.apart - performance.now());
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.reload();
    }, pause);
  }

  /** Loads it now. */
  async reload() {
    if (this.isStopped) return;
    this.request?.abort();
    clearTimeout(this.timer);
    this.timer = 0;
    this.settle(true);
    const request = new AbortController();
    this.request = request;
    this.begun = performance.now();
    let due = Math.max(this.wanted, floor.peek());
    try {
      const data = await this.load({ signal: request.signal, after: due });
      if (request.signal.aborted) return;
      this.asOf = Math.max(due, data?.position ?? 0);
      batch(() => {
        this.data.value = data;
        this.error.value = null;
      });
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof Refused)) console.error(error);
      this.error.value = error instanceof Refused ? error : new Refused(0, { detail: String(error) });
      // It is tried again by itself, since nothing may ever tell that it would succeed.
      const { status } = this.error.value;
      if (status === 0 || status === 429 || status >= 500) {
        this.timer = setTimeout(() => this.reload(), 3_000);
      }
    }
    this.request = null;
    this.tried = Math.max(due, this.asOf);
    due = Math.max(this.wanted, floor.peek());
    if (due > this.tried) this.outdated(due);
    else this.settle(false);
  }
}

/**
 * A resource for as long as a component is there; another one under another key.
 * @template T
 * @param {unknown[]} key
 * @param {(asked: Asked) => Promise<T & { position?: number }>} load
 * @param {(frame: import('./feed.js').Frame) => boolean} [concerns]
 * @param {{ apart?: number, isLate?: boolean }} [how]
 * @returns {Resource<T>}
 */
export function useResource(key, load, concerns, how) {
  const resource = useMemo(() => new Resource(load, concerns, how), key);
  useEffect(() => resource.start(), [resource]);
  return resource;
}
