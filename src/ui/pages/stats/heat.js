// At which hours of the week people call.

import { setQuery } from '../../route.js';
import { html, useId } from '../../view.js';
import { count, share } from '../../words.js';

/** @typedef {import('./span.js').Bucket} Bucket */

/** @type {{ measure: string, name: string, of: (bucket: Bucket) => number | null, say: (value: number | null) => string, most?: number }[]} */
const MEASURES = [
  { measure: 'calls', name: 'Calls', of: ({ calls }) => calls, say: count },
  { measure: 'missed', name: 'Missed', of: ({ missed }) => missed, say: count },
  { measure: 'answer_rate', name: 'Answer rate', of: ({ answer_rate }) => answer_rate, say: share, most: 1 },
];

const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const weekdayInFull = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
/** A day that is that day of the week: 1 January 2024 was a Monday. @param {number} number from 1, Monday */
const dayOfWeek = (number) => new Date(2024, 0, number);
const two = (/** @type {number} */ hour) => String(hour).padStart(2, '0');

/** @param {{ bucket: Bucket, measure: typeof MEASURES[number], most: number }} props */
function Cell({ bucket, measure, most }) {
  const value = measure.of(bucket);
  const heat = value && most ? value / most : 0;
  const about = `${weekdayInFull.format(dayOfWeek(bucket.weekday))} ${two(bucket.hour ?? 0)}–${two((bucket.hour ?? 0) + 1)} h: ${count(bucket.calls)} calls, `
    + `${count(bucket.missed)} missed, ${share(bucket.answer_rate)} answered`;
  return html`<td class=${heat ? undefined : 'nothing'} style=${{ '--heat': `${Math.round(heat * 60)}%` }} title=${about}>${measure.say(value)}</td>`;
}

/** @param {{ buckets: Bucket[], chosen: string }} props */
export function Heat({ buckets, chosen }) {
  const id = useId();
  const measure = MEASURES.find((candidate) => candidate.measure === chosen) ?? MEASURES[0];
  const most = measure.most ?? Math.max(0, ...buckets.map((bucket) => measure.of(bucket) ?? 0));
  const days = [1, 2, 3, 4, 5, 6, 7].map((number) => buckets.filter((bucket) => bucket.weekday === number));
  return html`
    <p class="heat-tools"><label for=${id}>Shown</label>
      <select id=${id} value=${measure.measure} onChange=${(/** @type {any} */ event) => setQuery({ measure: event.target.value }, { replace: true })}>
        ${MEASURES.map(({ measure: value, name }) => html`<option key=${value} value=${value}>${name}</option>`)}
      </select>
      <span class="scale quiet" aria-hidden="true">${measure.say(0)}<span class="scale-bar scale-${measure.measure}"></span>${measure.say(most)}</span>
    </p>
    <div class="scrolling" role="region" tabindex="0" aria-label="Hours of the week, scrolls sideways">
      <table class="heat heat-${measure.measure}">
        <caption class="spoken">${measure.name} by hour and day of the week</caption>
        <thead><tr><th scope="col"><span class="spoken">Day</span></th>
          ${buckets.slice(0, 24).map(({ hour }) => html`<th key=${hour} scope="col">${two(hour ?? 0)}</th>`)}</tr></thead>
        <tbody>${days.map((hours, index) => html`<tr key=${index}><th scope="row">${weekday.format(dayOfWeek(index + 1))}</th>
          ${hours.map((bucket) => html`<${Cell} key=${bucket.hour} bucket=${bucket} measure=${measure} most=${most} />`)}</tr>`)}</tbody>
      </table>
    </div>`;
}
