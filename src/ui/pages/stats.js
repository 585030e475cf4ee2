// What calls came to: in figures, over time, by the hours of the week, by line and by direction.

import { query } from '../api.js';
import { isOver } from '../feed.js';
import { useKeys } from '../keys.js';
import { Empty, Loaded, today } from '../parts.js';
import { read, useResource } from '../resource.js';
import { place, setQuery, withQuery } from '../route.js';
import { html, useId, useState } from '../view.js';
import { count, party, share, spoken, timeZone, towards } from '../words.js';
import { Chart } from './stats/chart.js';
import { Heat } from './stats/heat.js';
import { RANGES, nameOf, spanOf } from './stats/span.js';

/** @typedef {import('./stats/span.js').Bucket} Bucket */

/** Least time between two counts because calls have ended, in milliseconds. */
const APART = 5_000;

const DIRECTIONS = ['inbound', 'outbound', 'external'];

/** Counts by something, anew when calls end. @param {string} by @param {ReturnType<typeof spanOf>} span */
function useStats(by, span) {
  const { query: given } = place.value;
  const asked = { by, tz: timeZone, from: span.from, to: span.to, direction: given.get('direction'), number: given.get('number') };
  const key = query(asked);
  return useResource([key], read('/api/stats', asked), isOver, { apart: APART, isLate: true });
}

const range = (/** @type {string} */ name) => setQuery({ range: name, from: null, to: null, by: null });

/** @param {{ span: ReturnType<typeof spanOf>, lines: string[] }} props */
function Choices({ span, lines }) {
  const { query: given } = place.value;
  const [from, to, by, direction, number, list] = [useId(), useId(), useId(), useId(), useId(), useId()];
  const set = (/** @type {string} */ name) => (/** @type {any} */ event) => setQuery({ [name]: event.target.value.trim() });
  const day = (/** @type {'from' | 'to'} */ name) => (/** @type {any} */ event) => {
    if (event.target.value) setQuery({ range: null, from: span.from, to: span.to, by: null, [name]: event.target.value });
  };
  return html`<form class="choices" aria-label="What is counted" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
    <div class="ranges" role="group" aria-label="Span">${RANGES.map(({ range: name, name: said }) => html`
      <button type="button" key=${name} aria-pressed=${span.range === name ? 'true' : 'false'} onClick=${() => range(name)}>${said}</button>`)}</div>
    <p><label for=${from}>From</label><input id=${from} type="date" value=${span.from} max=${span.to} onChange=${day('from')} /></p>
    <p><label for=${to}>To</label><input id=${to} type="date" value=${span.to} min=${span.from} onChange=${day('to')} /></p>
    <p><label for=${by}>By</label><select id=${by} value=${span.by} onChange=${set('by')}>
      <option value="day">Day</option><option value="hour" disabled=${!span.mayBeByHour}>Hour</option></select></p>
    <p><label for=${direction}>Direction</label><select id=${direction} value=${given.get('direction') ?? ''} onChange=${set('direction')}>
      <option value="">All</option>${DIRECTIONS.map((name) => html`<option key=${name} value=${name}>${towards(name)}</option>`)}</select></p>
    <p><label for=${number}>Number</label><input id=${number} type="text" inputmode="tel" list=${list} autocomplete="off" placeholder="All lines and callers"
      value=${given.get('number') ?? ''} onChange=${set('number')} />
      <datalist id=${list}>${lines.map((line) => html`<option key=${line} value=${line}>${party(line)}</option>`)}</datalist></p>
  </form>`;
}

/** @param {{ total: any }} props */
const Total = ({ total }) => html`<section class="card" aria-labelledby="total"><h2 id="total">In all</h2>
  <dl class="figures">
    <div><dt>Calls</dt><dd>${count(total.calls)} ${total.live > 0 && html`<small>${count(total.live)} in progress</small>`}</dd></div>
    <div><dt>Answered</dt><dd>${count(total.answered)}</dd></div>
    <div><dt>Answer rate</dt><dd>${share(total.answer_rate)}</dd></div>
    <div><dt>Missed</dt><dd>${count(total.missed)}</dd></div>
    <div><dt>No answer</dt><dd>${count(total.no_answer)}</dd></div>
    <div><dt>Busy</dt><dd>${count(total.busy)}</dd></div>
    <div><dt>Failed</dt><dd>${count(total.failed)}</dd></div>
    <div><dt>Cancelled</dt><dd>${count(total.canceled)}</dd></div>
  </dl>
  <dl class="figures times">
    <div><dt>Mean talk</dt><dd>${spoken(total.talk_time.mean)}</dd></div>
    <div><dt>Half talk no longer than</dt><dd>${spoken(total.talk_time.p50)}</dd></div>
    <div><dt>95% talk no longer than</dt><dd>${spoken(total.talk_time.p95)}</dd></div>
    <div><dt>Mean wait</dt><dd>${spoken(total.wait_time.mean)}</dd></div>
    <div><dt>Half wait no longer than</dt><dd>${spoken(total.wait_time.p50)}</dd></div>
    <div><dt>95% wait no longer than</dt><dd>${spoken(total.wait_time.p95)}</dd></div>
  </dl>
</section>`;

/**
 * The same figures for each of some groups of calls.
 * @param {{ caption: string, of: string, rows: any[], name: (row: any) => any }} props
 */
const Table = ({ caption, of, rows, name }) => html`<div class="scrolling" role="region" tabindex="0" aria-label="${caption}, scrolls sideways">
  <table class="table"><caption class="spoken">${caption}</caption>
    <thead><tr><th scope="col">${of}</th><th scope="col">Calls</th><th scope="col">Answered</th><th scope="col">Answer rate</th><th scope="col">Missed</th>
      <th scope="col">No answer</th><th scope="col">Busy</th><th scope="col">Failed</th><th scope="col">Cancelled</th><th scope="col">Mean talk</th><th scope="col">Mean wait</th></tr></thead>
    <tbody>${rows.map((row, index) => html`<tr key=${index}><th scope="row">${name(row)}</th><td>${count(row.calls)}</td><td>${count(row.answered)}</td>
      <td>${share(row.answer_rate)}</td><td>${count(row.missed)}</td><td>${count(row.no_answer)}</td><td>${count(row.busy)}</td><td>${count(row.failed)}</td>
      <td>${count(row.canceled)}</td><td>${spoken(row.talk_time.mean)}</td><td>${spoken(row.wait_time.mean)}</td></tr>`)}</tbody>
  </table></div>`;

/** A bucket of a day leads to its hours. @param {{ bucket: Bucket }} props */
const Name = ({ bucket }) => (bucket.hour === null
  ? html`<a href=${withQuery({ from: bucket.date, to: bucket.date, range: null, by: null })}>${nameOf(bucket)}</a>` : nameOf(bucket));

/** @param {{ stats: any }} props */
function OverTime({ stats }) {
  const [isOpen, setOpen] = useState(false);
  const by = stats.by === 'hour' ? 'hour' : 'day';
  const summary = `Calls by ${by}: ${count(stats.total.calls)} in all, ${count(stats.total.answered)} answered and ${count(stats.total.missed)} missed. The figures are in the table below.`;
  const body = stats.total.calls === 0
    ? html`<${Empty} title="No calls in this span">Choose a longer one, or other filters. New calls are counted as they end.<//>`
    : html`<${Chart} buckets=${stats.buckets} by=${by} summary=${summary} />`;
  return html`<section class="card" aria-labelledby="over-time"><h2 id="over-time">By ${by}</h2>${body}
    <details class="figures-table" onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}><summary>The figures as a table</summary>
      ${isOpen && html`<${Table} caption=${`Calls by ${by}`} of=${by === 'hour' ? 'Hour' : 'Day'} rows=${stats.buckets} name=${(/** @type {Bucket} */ bucket) => html`<${Name} bucket=${bucket} />`} />`}
    </details></section>`;
}

/** @param {{ row: any }} props */
const LineName = ({ row }) => (row.line ? html`<a href=${withQuery({ number: row.line })}>${party(row.line)}</a>` : 'No number of ours');
/** @param {{ row: any }} props */
const DirectionName = ({ row }) => (DIRECTIONS.includes(row.direction)
  ? html`<a href=${withQuery({ direction: row.direction })}>${towards(row.direction)}</a>` : towards(row.direction));

/** @param {{ title: string, id: string, rows: any[], of: string, name: any }} props */
const Groups = ({ title, id, rows, of, name }) => html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${title}</h2>
  ${rows.length === 0 ? html`<${Empty} title="No calls in this span">They are told apart here.<//>`
    : html`<${Table} caption=${`Calls ${title.toLowerCase()}`} of=${of} rows=${rows} name=${(/** @type {any} */ row) => html`<${name} row=${row} />`} />`}
</section>`;

/** @param {{ span: ReturnType<typeof spanOf> }} props */
function Week({ span }) {
  const hours = useStats('weekday_hour', span);
  return html`<section class="card" aria-labelledby="week"><h2 id="week">By hour of the week</h2>
    <${Loaded} of=${hours} what="the hours of the week">${(/** @type {any} */ { buckets }) => html`<${Heat} buckets=${buckets} chosen=${place.value.query.get('measure') ?? ''} />`}<//>
  </section>`;
}

export function StatsPage() {
  // Reading the day has the span move on at midnight.
  const span = spanOf(place.value.query, new Date(today.value));
  const stats = useStats(span.by, span);
  useKeys([
    { keys: 't', does: 'Count today', run: () => range('today') },
    { keys: 'w', does: 'Count the last 7 days', run: () => range('7') },
    { keys: 'm', does: 'Count the last 30 days', run: () => range('30') },
    { keys: 'q', does: 'Count the last 90 days', run: () => range('90') },
  ]);
  const lines = (stats.data.value?.by_line ?? []).map((/** @type {any} */ row) => row.line).filter(Boolean);
  return html`<div class="stats">
    <header class="stats-head"><h1 tabindex="-1">Statistics</h1><p class="quiet">Days and hours of ${timeZone}. Counted again as calls end.</p></header>
    <${Choices} span=${span} lines=${lines} />
    <${Loaded} of=${stats} what="statistics">${(/** @type {any} */ told) => html`
      <${Total} total=${told.total} />
      <${OverTime} stats=${told} />`}<//>
    <${Week} span=${span} />
    ${stats.data.value && html`
      <${Groups} title="By line" id="by-line" of="Line" rows=${stats.data.value.by_line} name=${LineName} />
      <${Groups} title="By direction" id="by-direction" of="Direction" rows=${stats.data.value.by_direction} name=${DirectionName} />`}
  </div>`;
}
