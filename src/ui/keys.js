// Everything can be done by keyboard; `?` lists the keys.

import { undo } from './announce.js';
import { may } from './api.js';
import { search } from './filters.js';
import { go } from './route.js';
import { html, signal, useEffect, useRef } from './view.js';

/** @typedef {{ keys: string, does: string, run: (event: KeyboardEvent) => void }} Key */

/** @type {Key[]} */
const everywhere = [
  { keys: 'g b', does: 'Go to the live board', run: () => go('/') },
  { keys: 'g t', does: 'Go to threads', run: () => go('/inbox') },
  { keys: 'g c', does: 'Go to calls', run: () => go('/calls') },
  { keys: 'g s', does: 'Go to statistics', run: () => go('/stats') },
  { keys: 'g o', does: 'Go to operations', run: () => may('engineer') && go('/ops') },
  { keys: '/', does: 'Search', run: search },
  { keys: 'z', does: 'Undo what was just done', run: undo },
  { keys: '?', does: 'Show or hide this list', run: () => { isHelpOpen.value = !isHelpOpen.value; } },
];

/** Keys of what is on the page now. */
const here = signal(/** @type {Key[]} */ ([]));
export const isHelpOpen = signal(false);
let before = { key: '', at: 0 };
/** How long the first of two keys waits for the second, in milliseconds. */
const PAIR = 1_500;

/**
 * Keys for as long as a component is there.
 * @param {Key[]} keys
 */
export function useKeys(keys) {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const mine = keys.map((key, index) => ({ ...key, run: (/** @type {KeyboardEvent} */ event) => latest.current[index]?.run(event) }));
    here.value = [...here.peek(), ...mine];
    return () => {
      here.value = here.peek().filter((key) => !mine.includes(key));
    };
  }, [keys.map(({ keys: pressed, does }) => `${pressed} ${does}`).join()]);
}

addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
  const target = event.target;
  const isTyping = target instanceof HTMLElement && target.matches('input:not([type=range]), textarea, select, [contenteditable]');
  if (isTyping) {
    if (event.key === 'Escape') target.blur();
    return;
  }
  if (event.key === 'Escape' && isHelpOpen.value) {
    isHelpOpen.value = false;
    return;
  }
  // What is asked in a dialog is answered first.
  if (event.repeat || (document.querySelector('dialog[open]') && event.key !== '?')) return;
  const first = performance.now() - before.at < PAIR ? before.key : '';
  const pressed = first ? `${first} ${event.key}` : event.key;
  const all = [...here.value, ...everywhere];
  const key = all.find((candidate) => candidate.keys === pressed) ?? all.find((candidate) => candidate.keys === event.key);
  const isFirst = !key && all.some((candidate) => candidate.keys.startsWith(`${event.key} `));
  before = { key: isFirst ? event.key : '', at: performance.now() };
  if (!key) return;
  event.preventDefault();
  key.run(event);
});

const List = ({ title, keys }) => html`<section><h3>${title}</h3><dl class="keys">
  ${keys.map((/** @type {Key} */ key) => html`<div><dt>${key.keys.split(' ').map((part) => html`<kbd>${part}</kbd>`)}</dt><dd>${key.does}</dd></div>`)}
</dl></section>`;

export function KeyHelp() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const open = isHelpOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return html`<dialog ref=${dialog} aria-labelledby="keys-title" onClose=${() => { isHelpOpen.value = false; }}>
    <header class="dialog-head"><h2 id="keys-title">Keys</h2>
      <button type="button" onClick=${() => { isHelpOpen.value = false; }}>Close</button></header>
    ${here.value.length > 0 && html`<${List} title="On this page" keys=${here.value} />`}
    <${List} title="Everywhere" keys=${everywhere} />
  </dialog>`;
}
