// Lists that are read page by page, and whose first page is read again as it changes.

import { complain } from '../../announce.js';
import { useResource } from '../../resource.js';
import { useRef, useState } from '../../view.js';

/**
 * @template T
 * @typedef {{ items: T[], next: string | number | null, isInside?: boolean }} Page
 *   `next`: where the next one begins; `isInside`: it begins amid the list and not at its end
 */

/**
 * What is known, with the first page as it is now.
 * @template T
 * @param {Page<T>} page
 * @param {Page<T> | null} known
 * @param {(item: T) => unknown} id
 * @returns {Page<T>}
 */
export function merge(page, known, id) {
  const last = page.items.at(-1);
  if (!known || !last || page.next === null) return page;
  const shared = known.items.findIndex((item) => id(item) === id(last));
  // They have nothing in common: what came in between is not known, so the list begins anew.
  if (shared < 0) return page;
  return { items: [...page.items, ...known.items.slice(shared + 1)], next: known.next };
}

/**
 * @template T
 * @param {unknown[]} key
 * @param {(at: Page<T>['next'], asked: { signal?: AbortSignal, after: number }) => Promise<Page<T>>} read `at` is null for the first page
 * @param {(item: T) => unknown} id
 * @param {{ concerns?: () => boolean, apart?: number, isHeld?: () => boolean }} [how]
 *   `isHeld`: whether the list stands still, since somebody reads it; `apart` as of a resource
 */
export function usePages(key, read, id, { concerns, apart, isHeld = () => false } = {}) {
  const held = useRef(/** @type {import('../../resource.js').Resource<Page<T>> | null} */ (null));
  const [isReading, setReading] = useState(false);
  const load = async (/** @type {import('../../resource.js').Asked} */ asked) => {
    const page = await read(null, asked);
    const known = held.current?.data.peek() ?? null;
    return known && isHeld() ? known : merge(page, known, id);
  };
  /** @type {import('../../resource.js').Resource<Page<T>>} */
  const resource = useResource(key, load, concerns, { apart });
  held.current = resource;
  const more = async () => {
    const from = resource.data.peek()?.next ?? null;
    if (from === null || isReading) return;
    setReading(true);
    try {
      const page = await read(from, { after: 0 });
      const known = resource.data.peek();
      // Otherwise the list has begun anew meanwhile.
      if (known?.next === from) resource.data.value = { ...known, items: [...known.items, ...page.items], next: page.next };
    } catch (error) {
      complain(error);
    }
    setReading(false);
  };
  return { resource, more, isReading };
}
