// What has been done, said once: for whoever sees it as a note with an undo, for whoever listens by one polite region.

import { Icon } from './parts.js';
import { html, signal } from './view.js';

/** How long a note stays, in milliseconds: long enough to undo, and it waits while somebody points at it. */
const STAYS = 6_000;

/**
 * @typedef {{ text: string, undo?: () => void, done?: () => void, bad?: boolean, key: number }} Note
 */
const note = signal(/** @type {Note | null} */ (null));
const spoken = signal('');
let timer = 0;
let keys = 0;

/**
 * Says what has been done.
 * @param {string} text
 * @param {{ undo?: () => void, done?: () => void, bad?: boolean }} [how] `done` happens when it can no longer be undone
 */
export function announce(text, how = {}) {
  close();
  note.value = { text, ...how, key: (keys += 1) };
  say(text);
  stay();
}

/** Tells whoever listens to the page and does not see it. @param {string} text */
export function say(text) {
  // The same again is news, too.
  spoken.value = text === spoken.peek() ? `${text}\u00a0` : text;
}

/** @param {unknown} error */
export function complain(error) {
  announce(error instanceof Error ? error.message : String(error), { bad: true });
}

function stay() {
  clearTimeout(timer);
  timer = setTimeout(close, STAYS);
}

/** What can no longer be undone is done. */
export function close() {
  clearTimeout(timer);
  const last = note.value;
  note.value = null;
  last?.done?.();
}

export function undo() {
  const last = note.value;
  if (!last?.undo) return;
  clearTimeout(timer);
  note.value = null;
  last.undo();
}

addEventListener('pagehide', close);

export function Announcements() {
  const said = note.value;
  return html`
    <div class="spoken" role="status" aria-live="polite">${spoken.value}</div>
    ${said && html`<div class="note ${said.bad ? 'note-bad' : ''}" key=${said.key}
        onMouseEnter=${() => clearTimeout(timer)} onMouseLeave=${stay}
        onFocusIn=${() => clearTimeout(timer)} onFocusOut=${stay}>
      <span aria-hidden="true">${said.text}</span>
      ${said.undo && html`<button type="button" onClick=${undo}>Undo</button>`}
      <button type="button" class="plain" aria-label="Dismiss" onClick=${close}><${Icon} name="stop" /></button>
    </div>`}`;
}
