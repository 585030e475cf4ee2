// What came in, what came of it, and having tried again what was given up.

import { announce } from '../../announce.js';
import { change, get, query } from '../../api.js';
import { Empty, Icon, Loaded } from '../../parts.js';
import { useResource } from '../../resource.js';
import { place, setQuery } from '../../route.js';
import { html, useEffect, useRef, useState } from '../../view.js';
import { count } from '../../words.js';
import { usePages } from './paged.js';
import { Confirm, Do, EVERY, Facts, Field, Filters, Foldout, Folds, JOBS, Json, Moment, Tag, useDoing, usePolling } from './shared.js';

const STATES = /** @type {Record<string, { word: string, icon: string, tone: string }>} */ ({
  pending: { word: 'Waiting', icon: 'wait', tone: 'waiting' },
  processing: { word: 'Being decided', icon: 'wait', tone: 'waiting' },
  completed: { word: 'Decided', icon: 'done', tone: 'good' },
  failed: { word: 'Failed, tried again', icon: 'retry', tone: 'waiting' },
  dead_letter: { word: 'Given up', icon: 'failed', tone: 'bad' },
});
const OUTCOMES = /** @type {Record<string, string>} */ ({ recorded: 'recorded', already_so: 'known already', refused: 'refused' });
const SOURCES = ['twilio_voice', 'twilio_recording', ...JOBS];
const TYPES = ['call-status', 'call-inbound', 'dial-action', 'recording-complete'];
const CLEARS = ['row'];

/** The filter of the address, which the list and trying again have in common. */
function filterHere() {
  const given = place.value.query;
  const names = ['status', 'source', 'type', 'call_sid', 'from', 'to'];
  return Object.fromEntries(names.flatMap((name) => (given.get(name) ? [[name, given.get(name)]] : [])));
}

/** @param {{ status: string }} props */
function State({ status }) {
  const { word, icon, tone } = STATES[status] ?? { word: status, icon: 'wait', tone: 'quiet' };
  return html`<${Tag} tone=${tone} icon=${icon}>${word}<//>`;
}

/** What was recorded, each leading to where it stands in the log. @param {{ outcome: any }} props */
const Outcome = ({ outcome }) => html`${OUTCOMES[outcome.result] ?? outcome.result}${(outcome.events ?? []).map((/** @type {any} */ event) => html`
  <a class="event-link" key="${event.call_sid}${event.sequence}" href=${`/ops/events${query({ call_sid: event.call_sid })}`}>${event.type} #${event.sequence}</a>`)}`;

/** @param {{ id: string, onRetried: () => void }} props */
function Details({ id, onRetried }) {
  const row = useResource([id], ({ signal }) => get(`/api/inbox/${id}`, signal));
  const [isDoing, act] = useDoing();
  const retry = () => act(async () => {
    await change('POST', `/api/inbox/${id}/retry`);
    announce(`Row ${id} waits to be decided again`);
    onRetried();
    row.reload();
  });
  return html`<${Loaded} of=${row} what="row ${id}">${(/** @type {any} */ told) => html`
    ${told.error && html`<p class="problem"><${Icon} name="failed" />${told.error}</p>`}
    <${Facts} facts=${[
      ['Call', told.call_sid && html`<a href="/calls/${told.call_sid}"><code>${told.call_sid}</code></a>`],
      ['Recording', told.recording_sid && html`<code>${told.recording_sid}</code>`],
      ['Outcome', told.outcome && html`<${Outcome} outcome=${told.outcome} />`],
      ['Received', html`<${Moment} at=${told.received_at} />`],
      ['Decided', told.processed_at && html`<${Moment} at=${told.processed_at} />`],
      ['Failed tries', told.tries > 0 ? count(told.tries) : null],
      ['Tried again at', told.next_attempt_at && html`<${Moment} at=${told.next_attempt_at} />`],
      ['Request', told.request_id && html`<code>${told.request_id}</code>`],
      ['Retried by somebody', told.retried_at && html`<${Moment} at=${told.retried_at} /> <span class="quiet">request <code>${told.retried_by}</code></span>`],
      ['Known by', html`<code>${told.dedupe_key}</code>`],
    ]} />
    ${['failed', 'dead_letter'].includes(told.status) && html`<p><${Do} class="main" doing=${isDoing} onClick=${retry}><${Icon} name="retry" />Try it again now<//></p>`}
    <${Json} label="What was said in row ${id}" value=${told.payload} />`}<//>`;
}

/** @param {{ item: any, isOpen: boolean, reveal: boolean, onRetried: () => void }} props */
const Row = ({ item, isOpen, reveal, onRetried }) => html`<${Foldout} id="row-${item.id}" isOpen=${isOpen} reveal=${reveal}
  onToggle=${() => setQuery({ row: isOpen ? null : item.id }, { replace: true })}
  head=${html`<span class="inbox-row"><${Moment} at=${item.received_at} /><strong>${item.type}</strong><span class="quiet">${item.source}</span>
    <code class="sid">${item.call_sid ?? item.recording_sid ?? ''}</code><${State} status=${item.status} /></span>`}>
  <${Details} id=${item.id} onRetried=${onRetried} /><//>`;

/** A row that a link leads to, and that the list does not have. @param {{ id: string, onRetried: () => void }} props */
const Elsewhere = ({ id, onRetried }) => html`<section class="card" aria-labelledby="elsewhere"><header class="card-head"><h2 id="elsewhere">Row ${id}</h2>
    <button type="button" onClick=${() => setQuery({ row: null })}>Close</button></header>
  <div class="elsewhere"><${Details} key=${id} id=${id} onRetried=${onRetried} /></div></section>`;

/** Has all tried again that the filter of the page names, after they were counted. @param {{ onRetried: () => void }} props */
function RetryAll({ onRetried }) {
  const [found, setFound] = useState(/** @type {{ matching: number, filter: any } | null} */ (null));
  const [isDoing, act] = useDoing();
  const { status, ...rest } = filterHere();
  const filter = { ...rest, status: status === 'failed' ? 'failed' : 'dead_letter' };
  const what = status === 'failed' ? 'failed' : 'were given up';
  const look = () => act(async () => {
    const { matching } = await change('POST', '/api/inbox/retry', { ...filter, dry_run: true });
    if (matching === 0) announce(`No rows that ${what}${Object.keys(rest).length ? ' match these filters' : ''}`);
    else setFound({ matching, filter });
  });
  const retry = () => act(async () => {
    if (!found) return;
    const { retried } = await change('POST', '/api/inbox/retry', { ...found.filter, expected: found.matching });
    announce(`${count(retried)} rows wait to be decided again`);
    onRetried();
  });
  return html`<${Do} doing=${isDoing} onClick=${look}><${Icon} name="retry" />Retry all that ${what}…<//>
    ${found && html`<${Confirm} title="Try ${count(found.matching)} rows again?" does="Try them again" onDo=${retry} onClose=${() => setFound(null)}>
      <p>${count(found.matching)} ${found.matching === 1 ? 'row' : 'rows'} that ${what} ${found.matching === 1 ? 'is' : 'are'} decided again, in the order they came in.</p>
      ${Object.keys(rest).length > 0 && html`<${Facts} facts=${/** @type {any} */ (Object.entries(rest))} />`}
    <//>`}`;
}

export function Inbox() {
  const filter = filterHere();
  const open = place.value.query.get('row');
  const isHeld = useRef(false);
  const led = useRef(open);
  const { resource, more, isReading } = usePages([query(filter)], async (cursor, { signal }) => {
    const page = await get(`/api/inbox${query({ ...filter, cursor, limit: 50 })}`, signal);
    return { items: page.items, next: page.next_cursor };
  }, (/** @type {any} */ item) => item.id, { isHeld: () => isHeld.current });
  // What somebody reads is not moved away.
  useEffect(() => {
    isHeld.current = !!open;
  }, [resource, !open]);
  usePolling(resource, open ? null : EVERY);
  const reload = async () => {
    isHeld.current = false;
    await resource.reload();
    isHeld.current = place.peek().query.has('row');
  };
  return html`<header class="part-head"><h1 tabindex="-1">Inbox</h1><span class="part-tools">
      <button type="button" onClick=${reload}><${Icon} name="down" />Load the newest</button><${RetryAll} onRetried=${reload} /></span></header>
    <p class="quiet lead">Each request of Twilio, and each answer to what callbook asked, as it came in. ${open ? 'While a row is open, the list stands still.' : 'The list is read again every few seconds.'}</p>
    <${Filters}>
      <${Field} name="status" label="State" clears=${CLEARS} options=${[['', 'All'], ...Object.entries(STATES).map(([of, { word }]) => [of, word])]} />
      <${Field} name="source" label="Source" clears=${CLEARS} options=${[['', 'All'], ...SOURCES.map((of) => [of, of])]} />
      <${Field} name="type" label="Type" clears=${CLEARS} suggestions=${TYPES} placeholder="call-status" />
      <${Field} name="call_sid" label="Call" clears=${CLEARS} placeholder="CA…" />
      <${Field} name="from" label="Received from" kind="time" clears=${CLEARS} />
      <${Field} name="to" label="Received before" kind="time" clears=${CLEARS} />
    <//>
    ${open && resource.data.value && !resource.data.value.items.some((/** @type {any} */ item) => item.id === open) && html`<${Elsewhere} id=${open} onRetried=${reload} />`}
    <section class="card" aria-label="Rows"><${Loaded} of=${resource} what="the inbox">${(/** @type {any} */ { items, next }) => html`
      ${items.length === 0 ? html`<${Empty} title=${Object.keys(filter).length ? 'No rows match these filters' : 'Nothing has come in yet'}>${filter.status === 'dead_letter' ? 'Nothing was given up.' : 'Rows appear here as they come in.'}<//>`
        : html`<${Folds} label="Rows">${items.map((/** @type {any} */ item) => html`<${Row} key=${item.id} item=${item} isOpen=${item.id === open} reveal=${item.id === open && led.current === open} onRetried=${reload} />`)}<//>`}
      ${next && html`<p class="more"><${Do} doing=${isReading} onClick=${more}>${isReading ? 'Loading…' : 'Older rows'}<//></p>`}`}<//>
    </section>`;
}
