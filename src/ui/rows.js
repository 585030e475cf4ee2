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

  useLayoutEffect(() => {
    const look = () => {
      if (!list.current) return;
      const top = -list.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(top / height) - MARGIN);
      const to = Math.ceil((top + innerHeight) / height) + MARGIN;
      setSeen((seen) => (seen.first === from && seen.last === to ? seen : { first: from, last: Math.max(from, to) }));
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, [height, items.length]);

  useEffect(() => {
    if (onEnd && last >= items.length - MARGIN) onEnd();
  }, [last, items.length, onEnd]);

  /** @param {(index: number) => number} to */
  const move = (to) => {
    const active = document.activeElement?.closest('[data-row]');
    const index = Number(list.current?.contains(active ?? null) ? active?.getAttribute('data-row') : -1);
    const next = Math.min(items.length - 1, Math.max(0, to(index)));
    if (!list.current || next < 0) return;
    const top = list.current.getBoundingClientRect().top + next * height;
    const bar = 72;
    if (top < bar) scrollBy(0, top - bar);
    else if (top + height > innerHeight - 16) scrollBy(0, top + height - innerHeight + 16);
    const focus = () => {
      const target = list.current?.querySelector(`[data-row="${next}"]`);
      const link = target?.matches('a, button') ? target : target?.querySelector('a, button');
      if (link instanceof HTMLElement) link.focus({ preventScroll: true });
    };
    // The row may have to be drawn first.
    requestAnimationFrame(() => requestAnimationFrame(focus));
  };
  useKeys([
    { keys: 'j', does: `Next of ${label.toLowerCase()}`, run: () => move((index) => index + 1) },
    { keys: 'k', does: `Previous of ${label.toLowerCase()}`, run: () => move((index) => index - 1) },
  ]);

  const shown = items.slice(first, last);
  return html`<ul class="rows" aria-label=${label} ref=${list} style=${{ height: `${items.length * height}px` }}>
    ${shown.map((item, offset) => {
      const index = first + offset;
      return html`<li class="row" key=${id(item)} data-row=${index} aria-posinset=${index + 1} aria-setsize=${total ?? items.length}
        style=${{ transform: `translateY(${index * height}px)`, height: `${height}px` }}>${row(item, index)}</li>`;
    })}
  </ul>`;
}
