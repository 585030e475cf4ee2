// How rebuilt rows differ from those that serve, for people.

import { Icon } from '../../parts.js';
import { html } from '../../view.js';
import { count } from '../../words.js';
import { Table } from './shared.js';

/** A value of a column; a long one is cut, since what matters is that it differs. @param {{ of: unknown }} props */
function Value({ of }) {
  if (of === undefined || of === null) return html`<span class="quiet">none</span>`;
  const text = typeof of === 'string' ? of : JSON.stringify(of);
  return html`<code title=${text.length > 120 ? text : undefined}>${text.length > 120 ? `${text.slice(0, 120)}…` : text}</code>`;
}

/** @param {{ row: any }} props */
function Row({ row }) {
  const kind = row.live === null ? 'Only the rebuild has it' : row.rebuilt === null ? 'Only live has it' : null;
  if (kind) return html`<tr class="group"><th scope="row"><code>${row.key}</code></th><td colspan="3">${kind}</td></tr>`;
  return row.columns.map((/** @type {string} */ column, /** @type {number} */ index) => html`<tr key=${column} class=${index === 0 ? 'group' : ''}>
    ${index === 0 && html`<th scope="rowgroup" rowspan=${row.columns.length}><code>${row.key}</code></th>`}
    <td><code>${column}</code></td><td><${Value} of=${row.live[column]} /></td><td><${Value} of=${row.rebuilt[column]} /></td></tr>`);
}

/** @param {{ of: any }} props */
const OfTable = ({ of }) => html`<section class="difference"><h3><code>${of.table}</code></h3>
  <p>${count(of.changed)} changed · ${count(of.added)} only in the rebuild · ${count(of.removed)} only in live</p>
  ${Object.keys(of.columns).length > 0 && html`<p class="quiet">Columns that differ: ${Object.entries(of.columns).map(([column, rows]) => `${column} in ${count(rows)} rows`).join(', ')}</p>`}
  ${of.unshared.length > 0 && html`<p class="quiet">Columns that only one of them has: ${of.unshared.join(', ')}</p>`}
  ${of.samples.length > 0 && html`<${Table} caption="The first rows of ${of.table} that differ" head=${['Row', 'Column', 'Live', 'Rebuilt']}>
    ${of.samples.map((/** @type {any} */ row) => html`<${Row} key=${row.key} row=${row} />`)}<//>`}
</section>`;

/** @param {{ diff: any }} props */
export function Difference({ diff }) {
  const differing = diff.tables.filter((/** @type {any} */ of) => of.added || of.removed || of.changed || of.unshared.length);
  return html`<p class="verdict-word ${diff.rows ? 'is-bad' : 'is-good'}"><${Icon} name=${diff.rows ? 'failed' : 'done'} />
      <strong>${diff.rows ? `${count(diff.rows)} rows differ` : 'Live equals rebuilt'}</strong> <span class="quiet">at position ${count(diff.position)}</span></p>
    ${diff.quarantined.length > 0 && html`<p class="quiet">Left out, since they are quarantined: ${diff.quarantined.map((/** @type {string} */ sid) => html`<code>${sid}</code> `)}</p>`}
    ${differing.map((/** @type {any} */ of) => html`<${OfTable} key=${of.table} of=${of} />`)}
    ${differing.length === 0 && diff.tables.length > 0 && html`<p class="quiet">Compared row for row: ${diff.tables.map((/** @type {any} */ of) => of.table).join(', ')}</p>`}`;
}
