// A long list of which only the rows that can be seen are in the document.

import { useKeys } from './keys.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from './view.js';

/** Rows beyond the edges of the window that are there all the same, so that scrolling shows no gap. */
const MARGIN = 6;

/**
 * Rows of one height. Each is given its place by `style`, and is reached with j and k.
 * @template T
 * @param {{
 *   items: T[], height: number, id: (item: T) => string, row: (item: T, index: number) => any,
 *   label: string, onEnd?: () => void, total?: number,
 * }} props `onEnd`: the end is near, more is wanted
 */
export function Rows({ items, height, id, row, label, onEnd, total }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const [{ first, last }, setSeen] = useState({ first: 0, last: 30 });
  /** What has the focus, which is there wherever the others are, and where it was last. */
  const [keptId, setKept] = useState('');
  const keptAt = useRef(-1);
  const reach = useRef(false);
  const [, draw] = useState(0);
  const kept = keptId ? items.findIndex((item) => id(item) === keptId) : -1;

  useLayoutEffect(() => {
    const look = () => {
      if (!list.current) return;
      const top = -list.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(top / height) - MARGIN);
      const to = Math.ceil((top + innerHeight) / height) + MARGIN;
      setSeen((seen) => (seen.first === from && seen.last === to ? seen : { first: from, last: Math.max(from, to) }));
    };
    look();
    // Whatever scrolls, the window or what the list lies in.
    addEventListener('scroll', look, { passive: true, capture: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look, { capture: true });
      removeEventListener('resize', look);
    };
  }, [height, items.length]);

  useEffect(() => {
    if (onEnd && last >= items.length - MARGIN) onEnd();
  }, [last, items.length, onEnd]);

  /** @param {(index: number) => number} to */
  const move = (to) => {
    const active = document.activeElement?.closest('[data-row]') ?? null;
    // From where somebody is, else from what is open.
    const from = list.current?.contains(active) ? active : list.current?.querySelector('[aria-current]')?.closest('[data-row]');
    const index = Number(from?.getAttribute('data-row') ?? -1);
    const next = Math.min(items.length - 1, Math.max(0, to(index)));
    if (next < 0) return;
    reach.current = true;
    keptAt.current = next;
    setKept(id(items[next]));
    draw((count) => count + 1);
  };
  /** @param {number} index */
  const focus = (index) => {
    const link = list.current?.querySelector(`[data-row="${index}"]`)?.querySelector('a, button');
    if (link instanceof HTMLElement) link.focus({ preventScroll: !reach.current });
  };
  useEffect(() => {
    if (reach.current) focus(kept);
    // Its row has gone, and the focus with it: whoever was there goes on beside it.
    else if (keptId && kept < 0 && document.activeElement === document.body) focus(Math.min(keptAt.current, items.length - 1));
    if (kept >= 0) keptAt.current = kept;
    reach.current = false;
  });
  useKeys([
    { keys: 'j', does: `Next of the ${label.toLowerCase()}`, run: () => move((index) => index + 1) },
    { keys: 'k', does: `Previous of the ${label.toLowerCase()}`, run: () => move((index) => index - 1) },
  ]);

  const indices = Array.from({ length: Math.max(0, Math.min(last, items.length) - first) }, (_, offset) => first + offset);
  if (kept >= 0 && kept < items.length && (kept < first || kept >= last)) indices.push(kept);
  return html`<ul class="rows" aria-label=${label} ref=${list} style=${{ height: `${items.length * height}px` }}
    onFocusIn=${(/** @type {FocusEvent} */ event) => {
      const index = Number(/** @type {Element} */ (event.target).closest('[data-row]')?.getAttribute('data-row') ?? -1);
      setKept(items[index] ? id(items[index]) : '');
    }}
    onFocusOut=${(/** @type {FocusEvent} */ event) => {
      // To something else, and not because its row went.
      if (event.relatedTarget) setKept('');
    }}>
    ${indices.map((index) => {
      const item = items[index];
      return html`<li class="row" key=${id(item)} data-row=${index} aria-posinset=${index + 1} aria-setsize=${total ?? items.length}
        style=${{ transform: `translateY(${index * height}px)`, height: `${height}px` }}>${row(item, index)}</li>`;
    })}
  </ul>`;
}
