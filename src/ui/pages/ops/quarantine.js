// Calls that are not folded any further, because an event of theirs could not be.

import { announce } from '../../announce.js';
import { change, get, query } from '../../api.js';
import { Empty, Icon, Loaded } from '../../parts.js';
import { html, useState } from '../../view.js';
import { count, party } from '../../words.js';
import { Confirm, Do, Moment, Tag, useDoing, usePolled } from './shared.js';

const KINDS = /** @type {Record<string, string>} */ ({ call: 'Call', contact: 'Contact', conversation: 'Conversation' });

/** @param {{ released: string[], kept: { call_sid: string, reason: string }[] }} told */
function say({ released, kept }) {
  if (kept.length === 0) return announce(`${count(released.length)} folded again`);
  announce(`${count(released.length)} folded again; ${count(kept.length)} still cannot be: ${kept[0].reason}`, { bad: true });
}

/** @param {{ row: any, onRetried: () => void }} props */
function Row({ row, onRetried }) {
  const [isDoing, act] = useDoing();
  const isCall = row.aggregate_type === 'call';
  const retry = () => act(async () => {
    say(await change('POST', `/api/quarantine/${encodeURIComponent(row.call_sid)}/retry`));
    onRetried();
  });
  return html`<li class="quarantined">
    <div class="quarantined-what"><${Tag} tone="bad" icon="failed">${KINDS[row.aggregate_type] ?? row.aggregate_type}<//>
      ${isCall ? html`<a href="/calls/${row.call_sid}"><code>${row.call_sid}</code></a>` : html`<strong>${party(row.call_sid)}</strong>`}
      <span class="quiet">since <${Moment} at=${row.quarantined_at} /></span></div>
    <p>${row.reason}</p>
    <p class="quarantined-tools">
      <a href=${`/ops/events${query({ call_sid: isCall ? row.call_sid : null, position: row.event_position })}`}>The event at position ${count(row.event_position)}</a>
      ${row.conversation_id && html`<a href="/inbox/${row.conversation_id}">The thread, which is stale meanwhile</a>`}
      <${Do} doing=${isDoing} onClick=${retry} aria-label="Fold ${row.call_sid} again"><${Icon} name="retry" />Fold it again<//></p>
  </li>`;
}

export function Quarantine() {
  const list = usePolled([], ({ signal }) => get('/api/quarantine', signal));
  const [isAsking, setAsking] = useState(false);
  const [isDoing, act] = useDoing();
  const calls = list.data.value?.calls ?? [];
  const reload = () => { list.reload(); };
  const retryAll = () => act(async () => {
    say(await change('POST', '/api/quarantine/retry'));
    reload();
  });
  return html`<header class="part-head"><h1 tabindex="-1">Quarantine</h1>
      ${calls.length > 0 && html`<${Do} doing=${isDoing} onClick=${() => setAsking(true)}><${Icon} name="retry" />Fold all again…<//>`}</header>
    <p class="quiet lead">An event that cannot be folded sets its call aside with its family, so that all others go on. Their rows stay as they were before it.</p>
    <section class="card" aria-label="Quarantined"><${Loaded} of=${list} what="the quarantine">${() => (calls.length === 0
      ? html`<${Empty} title="Nothing is quarantined">Every event of the log is folded.<//>`
      : html`<ul>${calls.map((/** @type {any} */ row) => html`<${Row} key=${row.call_sid} row=${row} onRetried=${reload} />`)}</ul>`)}<//></section>
    ${isAsking && html`<${Confirm} title="Fold all ${count(calls.length)} again?" does="Fold them again" onDo=${retryAll} onClose=${() => setAsking(false)}>
      <p>Each is folded from its whole history. Those that still cannot be stay here.</p><//>`}`;
}
