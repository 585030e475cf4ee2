// What the pages of operations have in common: what is asked for again and again, rows that open, and asking before
// something is done.

import { complain } from '../../announce.js';
import { useKeys } from '../../keys.js';
import { Icon } from '../../parts.js';
import { useResource } from '../../resource.js';
import { place, setQuery } from '../../route.js';
import { html, useEffect, useId, useRef, useState } from '../../view.js';
import { exactly } from '../../words.js';

/** Who asks Twilio, as what came of it is named. */
export const JOBS = ['reconcile_hot', 'reconcile_warm', 'reconcile_cold', 'sync_initial', 'sync_today', 'sync_recent', 'reconcile_range'];

/** How often what the stream does not tell of is asked for, in milliseconds. */
export const EVERY = 5_000;

/**
 * A resource that is asked for again and again while somebody looks.
 * @template T
 * @param {unknown[]} key
 * @param {(asked: import('../../resource.js').Asked) => Promise<T & { position?: number }>} load
 * @param {number | null} [every] null: not again by itself
 * @returns {import('../../resource.js').Resource<T>}
 */
export function usePolled(key, load, every = EVERY) {
  const resource = useResource(key, load);
  usePolling(resource, every);
  return resource;
}

/**
 * Asks for a resource again and again while somebody looks.
 * @param {import('../../resource.js').Resource<any>} resource
 * @param {number | null} every null: not by itself
 */
export function usePolling(resource, every) {
  useEffect(() => {
    if (every === null) return;
    const timer = setInterval(() => {
      if (!document.hidden && !resource.request) resource.reload();
    }, every);
    return () => clearInterval(timer);
  }, [resource, every]);
}

/**
 * Does one thing at a time, and says why it could not be done.
 * @returns {[boolean, (work: () => Promise<void>) => Promise<void>]}
 */
export function useDoing() {
  const [isDoing, setDoing] = useState(false);
  const current = useRef(false);
  const act = async (/** @type {() => Promise<void>} */ work) => {
    if (current.current) return;
    current.current = true;
    setDoing(true);
    try {
      await work();
    } catch (error) {
      complain(error);
    }
    current.current = false;
    setDoing(false);
  };
  return [isDoing, act];
}

/** A button that is not pressed twice; it keeps the focus meanwhile. @param {any} props */
export const Do = ({ doing, onClick, children, class: name, ...rest }) => html`
  <button type="button" class=${name} aria-disabled=${doing ? 'true' : undefined} onClick=${doing ? undefined : onClick} ...${rest}>${children}</button>`;

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });
const dayAndTime = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** A moment as engineers want it: to the millisecond today. @param {{ at: string | null | undefined }} props */
export function Moment({ at }) {
  if (!at) return html`<span class="quiet">–</span>`;
  const moment = new Date(at);
  const isToday = moment.toDateString() === new Date().toDateString();
  return html`<time datetime=${at} title=${exactly(at)}>${(isToday ? time : dayAndTime).format(moment)}</time>`;
}

/** A state in a word and a picture. @param {{ tone?: string, icon: string, children?: any }} props */
export const Tag = ({ tone = 'quiet', icon, children }) => html`<span class="standing tone-${tone}"><${Icon} name=${icon} />${children}</span>`;

/** Names and what they stand for; what is not there is left out. @param {{ facts: [string, any][] }} props */
export const Facts = ({ facts }) => html`<dl class="ops-facts">${facts.filter(([, value]) => value)
  .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** @param {{ label: string, value: unknown }} props */
export function Json({ label, value }) {
  const lines = JSON.stringify(value, null, 2).split('\n');
  return html`<pre class="ops-json" tabindex="0" role="region" aria-label=${label}>${lines.map((line) => {
    const named = /^(\s*)("(?:[^"\\]|\\.)*"):(.*)$/.exec(line);
    return named ? html`${named[1]}<span class="ops-json-name">${named[2]}</span>:${named[3]}${'\n'}` : `${line}\n`;
  })}</pre>`;
}

/** A table that scrolls by itself where it does not fit. @param {{ caption: string, head: string[], children?: any }} props */
export const Table = ({ caption, head, children }) => html`<div class="scrolling" role="region" tabindex="0" aria-label="${caption}, scrolls sideways">
  <table class="ops-table"><caption class="spoken">${caption}</caption>
    <thead><tr>${head.map((name) => html`<th key=${name} scope="col">${name}</th>`)}</tr></thead>
    <tbody>${children}</tbody></table></div>`;

/**
 * One of a list of rows, which opens to what there is to know about it.
 * @param {{ id: string, isOpen: boolean, onToggle: () => void, head: any, children?: any, reveal?: boolean }} props
 *   `reveal`: a link leads here, so it is scrolled to
 */
export function Foldout({ id, isOpen, onToggle, head, children, reveal = false }) {
  const row = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (reveal) row.current?.scrollIntoView({ block: 'start' });
  }, [reveal]);
  return html`<li class="fold ${isOpen ? 'fold-open' : ''}" id=${id} ref=${row}>
    <button type="button" class="fold-head" aria-expanded=${isOpen ? 'true' : 'false'} aria-controls=${isOpen ? `${id}-body` : undefined} onClick=${onToggle}>
      <${Icon} name=${isOpen ? 'down' : 'right'} />${head}</button>
    ${isOpen && html`<div class="fold-body" id="${id}-body">${children}</div>`}
  </li>`;
}

/** Rows that open, gone through with j and k. @param {{ label: string, children?: any }} props */
export function Folds({ label, children }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const move = (/** @type {number} */ by) => {
    const heads = [...(list.current?.querySelectorAll('.fold-head') ?? [])];
    const at = heads.indexOf(/** @type {Element} */ (document.activeElement));
    const next = heads[Math.min(heads.length - 1, Math.max(0, at + by))];
    if (next instanceof HTMLElement) next.focus();
  };
  useKeys([
    { keys: 'j', does: `Next of ${label.toLowerCase()}`, run: () => move(1) },
    { keys: 'k', does: `Previous of ${label.toLowerCase()}`, run: () => move(-1) },
  ]);
  return html`<ul class="folds" aria-label=${label} ref=${list}>${children}</ul>`;
}

/**
 * Asks before something is done. It is there while it is open.
 * @param {{ title: string, does: string, danger?: boolean, onDo: () => void, onClose: () => void, children?: any }} props
 */
export function Confirm({ title, does, danger = false, onDo, onClose, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const close = () => dialog.current?.close();
  return html`<dialog ref=${dialog} class="confirm" aria-labelledby=${id} onClose=${onClose}>
    <h2 id=${id}>${title}</h2>
    <div class="confirm-body">${children}</div>
    <p class="confirm-tools">
      <button type="button" onClick=${close}>Leave it</button>
      <button type="button" class=${danger ? 'danger' : 'main'} onClick=${() => { onDo(); close(); }}>${does}</button>
    </p>
  </dialog>`;
}

/** As a field for a time of here has it. @param {string | null} iso */
function local(iso) {
  const at = new Date(iso ?? '');
  if (Number.isNaN(at.getTime())) return '';
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/**
 * A filter that stands in the address.
 * @param {{ name: string, label: string, kind?: 'text' | 'time', options?: [string, string][], suggestions?: string[], placeholder?: string, clears?: string[] }} props
 *   `clears`: parameters that mean nothing under another filter
 */
export function Field({ name, label, kind = 'text', options, suggestions, placeholder, clears = [] }) {
  const [id, list] = [useId(), useId()];
  const value = place.value.query.get(name) ?? '';
  const set = (/** @type {string} */ to) => setQuery({ ...Object.fromEntries(clears.map((other) => [other, null])), [name]: to });
  const change = (/** @type {any} */ event) => set(event.target.value.trim());
  const changeTime = (/** @type {any} */ event) => set(event.target.value ? new Date(event.target.value).toISOString() : '');
  const field = () => {
    if (options) return html`<select id=${id} value=${value} onChange=${change}>${options.map(([of, said]) => html`<option key=${of} value=${of}>${said}</option>`)}</select>`;
    if (kind === 'time') return html`<input id=${id} type="datetime-local" value=${local(value)} onChange=${changeTime} />`;
    return html`<input id=${id} type="text" list=${suggestions && list} autocomplete="off" spellcheck="false" placeholder=${placeholder} value=${value} onChange=${change} />
      ${suggestions && html`<datalist id=${list}>${suggestions.map((text) => html`<option key=${text} value=${text} />`)}</datalist>`}`;
  };
  return html`<p class=${kind === 'time' ? 'filter-time' : undefined}><label for=${id}>${label}</label>${field()}</p>`;
}

/** @param {{ children?: any }} props */
export const Filters = ({ children }) => html`<form class="ops-filters" aria-label="Filters" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>${children}</form>`;
