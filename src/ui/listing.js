// A list without an end, the newest first: its first page follows what happens, the others are read as they are wanted.

import { say } from './announce.js';
import { Refused, get, query } from './api.js';
import { listen } from './feed.js';
import { Resource, read } from './resource.js';
import { batch, effect, html, signal, useEffect, useMemo, useRef } from './view.js';
import { count, instant } from './words.js';

/**
 * @template T
 * @typedef {object} Shape
 * @property {string} path
 * @property {Record<string, string | number | boolean | null | undefined>} parameters
 * @property {string} items the field of the answer that has them
 * @property {(item: T) => string} id
 * @property {(item: T) => string} at what they are ordered by: a time
 * @property {(frame: import('./feed.js').Frame, items: T[]) => boolean} [concerns]
 *   whether a frame may have changed the list in a way that `patch` does not know
 * @property {(item: T, frame: import('./feed.js').Frame) => T | null} [patch]
 *   an item as a frame says that it is; null where it is gone
 * @property {boolean} [keep] whether whoever comes back finds as many rows as there were
 * @property {number} [apart] least time between two loads because of what the stream tells, in milliseconds
 */

/** @template T */
export class Listing {
  /** @param {Shape<T>} shape */
  constructor(shape) {
    this.shape = shape;
    this.items = signal(/** @type {T[]} */ ([]));
    this.total = signal(0);
    this.cursor = signal(/** @type {string | null} */ (null));
    this.more = this.more.bind(this);
    this.problem = signal(/** @type {Refused | null} */ (null));
    this.isReading = signal(false);
    const { path, parameters, concerns, apart } = shape;
    this.first = new Resource(
      read(path, parameters),
      concerns && ((frame) => concerns(frame, this.items.peek())),
      { apart },
    );
  }

  start() {
    const ends = [
      this.first.start(),
      effect(() => {
        const page = this.first.data.value;
        if (page) this.merge(page);
      }),
      listen((frames) => this.apply(frames)),
    ];
    return () => ends.forEach((end) => end());
  }

  /** As the API orders lists: the newest first, ties by id. @param {T} a @param {T} b */
  compare(a, b) {
    const { at, id } = this.shape;
    const [one, other] = [instant(at(a)), instant(at(b))];
    return one === other ? Number(BigInt(id(b)) - BigInt(id(a))) : one < other ? 1 : -1;
  }

  /** The first page as it is now, and what was read beyond it. @param {any} page */
  merge(page) {
    const { id, items } = this.shape;
    /** @type {T[]} */
    const fresh = page[items];
    const listed = new Set(fresh.map(id));
    const last = fresh.at(-1);
    const known = this.items.peek();
    // Where the two have nothing in common, nobody knows what lies between, and the list begins anew.
    const meets = page.next_cursor && !!last && known.some((item) => id(item) === id(last));
    const beyond = meets ? known.filter((item) => !listed.has(id(item)) && this.compare(last, item) < 0) : [];
    batch(() => {
      this.items.value = [...fresh, ...beyond];
      this.total.value = page.total;
      if (beyond.length === 0) this.cursor.value = page.next_cursor;
    });
  }

  /** @param {import('./feed.js').Frame[]} frames */
  apply(frames) {
    const { patch } = this.shape;
    if (!patch) return;
    let changed = false;
    const known = this.items.peek();
    const items = known.flatMap((item) => {
      let now = /** @type {T | null} */ (item);
      for (const frame of frames) now = now && patch(now, frame);
      changed ||= now !== item;
      return now ? [now] : [];
    });
    if (!changed) return;
    // When something began is known better later on.
    items.sort((a, b) => this.compare(a, b));
    batch(() => {
      this.items.value = items;
      this.total.value -= known.length - items.length;
    });
  }

  /** Reads what follows. */
  async more() {
    const cursor = this.cursor.peek();
    if (!cursor || this.isReading.peek()) return;
    this.isReading.value = true;
    try {
      const { path, parameters, id, items } = this.shape;
      const page = await get(`${path}${query({ ...parameters, cursor })}`);
      const known = new Set(this.items.peek().map(id));
      batch(() => {
        // Something newer may have taken the place that this was read for.
        if (this.cursor.peek() !== cursor) return;
        this.items.value = [...this.items.peek(), ...page[items].filter((/** @type {T} */ item) => !known.has(id(item)))];
        this.cursor.value = page.next_cursor;
        this.problem.value = null;
      });
    } catch (error) {
      this.problem.value = error instanceof Refused ? error : new Refused(0, { detail: String(error) });
    } finally {
      this.isReading.value = false;
    }
  }
}

/** How far each list had been read that is to be kept, by its path. @type {Map<string, { key: string, rows: number }>} */
const kept = new Map();
/** As many as the API gives at a time. */
const LARGEST_PAGE = 200;

/**
 * A list for as long as a component is there; another one under another key.
 * @template T
 * @param {unknown[]} key
 * @param {() => Shape<T>} shape
 * @returns {Listing<T>}
 */
export function useListing(key, shape) {
  const listing = useMemo(() => {
    const wanted = shape();
    const known = kept.get(wanted.path);
    const rows = known && known.key === String(key) ? known.rows : 0;
    // Read anew, since nobody has listened meanwhile, and as far as it was.
    const limit = Math.min(LARGEST_PAGE, Math.max(rows, Number(wanted.parameters.limit)));
    return new Listing({ ...wanted, parameters: { ...wanted.parameters, limit } });
  }, key);
  useEffect(() => {
    const stop = listing.start();
    return () => {
      stop();
      if (listing.shape.keep) kept.set(listing.shape.path, { key: String(key), rows: listing.items.peek().length });
    };
  }, [listing]);
  return listing;
}

/**
 * Says how much is found when something else is looked for, and not when the list itself changes.
 * @param {Listing<any>} listing
 * @param {[string, string]} names one of it, and many
 */
export function useFound(listing, [one, many]) {
  const isThere = listing.first.data.value !== null;
  const said = useRef(listing);
  useEffect(() => {
    if (!isThere || said.current === listing) return;
    said.current = listing;
    const total = listing.total.peek();
    say(`${count(total)} ${total === 1 ? one : many}`);
  }, [isThere, listing]);
}

/** What could not be read of a list, and how to ask for it again. @param {{ of: Listing<any> }} props */
export const Unread = ({ of }) => of.problem.value && html`<p class="older"><span class="problem" role="alert">${of.problem.value.message}</span>
  <button type="button" onClick=${of.more}>Try again</button></p>`;
