// Which calls are looked for: kept in the address, under the names that the API has for them.

import { Icon } from './parts.js';
import { go, place, setQuery } from './route.js';
import { html, useEffect, useRef, useState } from './view.js';

const NAMES = ['search', 'direction', 'status', 'missed', 'has_recording', 'number', 'from', 'to'];
/** How long somebody pauses who has typed what they look for, in milliseconds. */
const PAUSE = 250;

/**
 * A day of here as the moment at which it begins: the days of the API are UTC's.
 * @param {string} date @param {number} later days
 */
function midnight(date, later) {
  const at = new Date(`${date}T00:00`);
  at.setDate(at.getDate() + later);
  return Number.isNaN(at.getTime()) ? date : at.toISOString();
}

/** What the address asks for, as the API is asked for it. */
export function chosen() {
  const { query } = place.value;
  const given = Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? '']));
  return { ...given, from: given.from && midnight(given.from, 0), to: given.to && midnight(given.to, 1) };
}

const STATUSES = [
  ['completed', 'Answered'], ['no-answer', 'No answer'], ['busy', 'Busy'], ['failed', 'Failed'], ['canceled', 'Cancelled'],
  ['ringing', 'Ringing'], ['in-progress', 'Talking'], ['queued', 'Queued'], ['initiated', 'Dialling'],
];

/** @param {{ name: string, label: string, options: string[][] }} props */
function Choice({ name, label, options }) {
  const value = place.value.query.get(name) ?? '';
  return html`<label class="field">${label}
    <select value=${value} onChange=${(/** @type {Event} */ event) => setQuery({ [name]: /** @type {HTMLSelectElement} */ (event.target).value })}>
      <option value="">Any</option>
      ${options.map(([option, text]) => html`<option value=${option} selected=${option === value}>${text}</option>`)}
    </select></label>`;
}

/** @param {{ name: string, label: string, type: string }} props */
function Given({ name, label, type }) {
  const value = place.value.query.get(name) ?? '';
  return html`<label class="field">${label}
    <input type=${type} value=${value} onChange=${(/** @type {Event} */ event) => setQuery({ [name]: /** @type {HTMLInputElement} */ (event.target).value.trim() })} /></label>`;
}

/** Whether somebody wants to search who is not where that can be done. */
let isWanted = false;

/** Goes to where one searches. */
export function search() {
  const box = document.querySelector('input[type=search]');
  if (box instanceof HTMLInputElement && box.checkVisibility()) return box.focus();
  isWanted = true;
  go('/inbox');
}

function Search() {
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => {
    if (isWanted) box.current?.focus();
    isWanted = false;
  }, []);
  const inUrl = place.value.query.get('search') ?? '';
  const [text, setText] = useState(inUrl);
  const timer = useRef(0);
  const mine = useRef(inUrl);
  // Going back and links change what is looked for, too.
  useEffect(() => {
    if (inUrl !== mine.current) setText(inUrl);
    mine.current = inUrl;
  }, [inUrl]);
  /** @param {string} to */
  const look = (to) => {
    clearTimeout(timer.current);
    mine.current = to;
    // Each pause is not a step that somebody wants to go back through.
    setQuery({ search: to }, { replace: inUrl !== '' && to !== '' });
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`<form class="search" role="search" onSubmit=${(/** @type {Event} */ event) => {
    event.preventDefault();
    look(text.trim());
  }}>
    <${Icon} name="search" />
    <input type="search" ref=${box} aria-label="Search by name or number" placeholder="Name or number" maxlength="100" value=${text}
      onInput=${(/** @type {Event} */ event) => {
        const to = /** @type {HTMLInputElement} */ (event.target).value;
        setText(to);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => look(to.trim()), PAUSE);
      }} />
  </form>`;
}

export function Filters() {
  const given = Object.entries(chosen()).filter(([name, value]) => name !== 'search' && value).length;
  return html`<div class="filters">
    <${Search} />
    <details open=${given > 0}>
      <summary>Filters${given > 0 && html` <span class="number">${given}</span>`}</summary>
      <div class="fields">
        <${Choice} name="direction" label="Direction" options=${[['inbound', 'Inbound'], ['outbound', 'Outbound'], ['external', 'External']]} />
        <${Choice} name="status" label="Outcome" options=${STATUSES} />
        <${Choice} name="missed" label="Missed" options=${[['true', 'Missed'], ['false', 'Not missed']]} />
        <${Choice} name="has_recording" label="Recording" options=${[['true', 'With a recording'], ['false', 'Without']]} />
        <${Given} name="number" label="Number" type="tel" />
        <${Given} name="from" label="From" type="date" />
        <${Given} name="to" label="To" type="date" />
        ${given > 0 && html`<button type="button" onClick=${() => setQuery(Object.fromEntries(NAMES.filter((name) => name !== 'search').map((name) => [name, null])))}>Clear filters</button>`}
      </div>
    </details>
  </div>`;
}
