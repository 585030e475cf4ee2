// The log, event by event.

import { get, query } from '../../api.js';
import { Empty, Icon, Loaded } from '../../parts.js';
import { place, setQuery, withQuery } from '../../route.js';
import { html, useEffect, useRef } from '../../view.js';
import { count } from '../../words.js';
import { usePages } from './paged.js';
import { Do, Facts, Field, Filters, Foldout, Folds, JOBS, Json, Moment, Tag } from './shared.js';

const TYPES = ['call.created', 'call.status_changed', 'call.dial_completed', 'call.details_reconciled', 'recording.ready'];
const SOURCES = ['webhook', ...JOBS];
const CLEARS = ['position'];
const LIMIT = 100;
/** Events before the one that a link leads to, so that it is seen where it stands. */
const BEFORE = 5;
/** A search goes through a stretch of the log at a time; so many are gone through before somebody is asked. */
const STRETCHES = 8;
/** Least time between two looks for newer events, in milliseconds. */
const APART = 1_000;

/** @typedef {{ order: 'asc' | 'desc', filter: Record<string, string> }} Search */

/** @returns {Search} */
function searchHere() {
  const given = place.value.query;
  const names = ['type', 'call_sid', 'source', 'from', 'to'];
  const filter = Object.fromEntries(names.flatMap((name) => (given.get(name) ? [[name, given.get(name) ?? '']] : [])));
  return { order: given.get('order') === 'asc' ? 'asc' : 'desc', filter };
}

/** @param {Search} search @param {number | null} after @param {AbortSignal} [signal] */
async function readFrom({ order, filter }, after, signal) {
  let next = after;
  /** @type {any} */
  let page = null;
  for (let stretch = 0; stretch < STRETCHES; stretch += 1) {
    page = await get(`/api/events${query({ ...filter, order, after: next, limit: LIMIT })}`, signal);
    if (page.events.length > 0 || page.next_after === null) break;
    next = page.next_after;
  }
  return { items: page.events, next: page.next_after };
}

/**
 * The first page; where a link leads to an event that is not on it, the one around that event.
 * @param {Search} search @param {number | null} wanted @param {AbortSignal} [signal]
 */
async function readFirst(search, wanted, signal) {
  const page = await readFrom(search, null, signal);
  if (wanted === null || page.next === null || page.items.some((/** @type {any} */ event) => event.position === wanted)) return page;
  const after = search.order === 'desc' ? wanted + BEFORE + 1 : Math.max(0, wanted - BEFORE - 1);
  return { ...await readFrom(search, after, signal), isInside: true };
}

/** What an event says of itself, on a line. @param {{ event: any }} props */
function Gist({ event: { payload } }) {
  const status = payload.summary?.status ?? payload.status ?? payload.facts?.status?.status;
  return status ? html`<span class="gist quiet">${typeof status === 'string' ? status : JSON.stringify(status)}</span>` : html`<span class="gist"></span>`;
}

/** @param {{ event: any }} props */
const Details = ({ event }) => html`<${Facts} facts=${[
    ['About', event.aggregate_type === 'call' ? html`<a href="/calls/${event.aggregate_id}">call <code>${event.aggregate_id}</code></a>` : html`${event.aggregate_type} <code>${event.aggregate_id}</code>`],
    ['Its events', event.aggregate_type === 'call' ? html`<a href=${`/ops/events${query({ call_sid: event.aggregate_id, order: 'asc', position: event.position })}`}>all of this call</a> <span class="quiet">this is number ${event.sequence}</span>` : `number ${event.sequence}`],
    ['Happened', event.event_time && html`<${Moment} at=${event.event_time} />`],
    ['Recorded', html`<${Moment} at=${event.recorded_at} />`],
    ['Version', event.version],
    ['From row', event.metadata?.inbox_id && html`<a href=${`/ops/inbox${query({ call_sid: event.aggregate_type === 'call' ? event.aggregate_id : null, row: event.metadata.inbox_id })}`}>${event.metadata.inbox_id} of the inbox</a>`],
    ['Request', event.metadata?.request_id && html`<code>${event.metadata.request_id}</code>`],
  ]} />
  <${Json} label="What event ${event.position} says" value=${event.payload} />`;

/** @param {{ event: any, isOpen: boolean, reveal: boolean }} props */
const Row = ({ event, isOpen, reveal }) => html`<${Foldout} id="event-${event.position}" isOpen=${isOpen} reveal=${reveal}
  onToggle=${() => setQuery({ position: isOpen ? null : String(event.position) }, { replace: true })}
  head=${html`<span class="event-row"><span class="at-position">${count(event.position)}</span><${Moment} at=${event.recorded_at} /><strong>${event.type}</strong>
    <${Gist} event=${event} /><span class="quiet">${event.source ?? '–'}</span><code class="sid">${event.aggregate_id}</code></span>`}>
  <${Details} event=${event} /><//>`;

/** Whether the list moves, and why not. @param {{ follows: boolean, why: string | null }} props */
const Following = ({ follows, why }) => html`<p class="following">
  <button type="button" aria-pressed=${place.value.query.get('live') === 'off' ? 'false' : 'true'}
    onClick=${() => setQuery({ live: place.value.query.get('live') === 'off' ? null : 'off' }, { replace: true })}><${Icon} name="live" />Follow</button>
  ${follows ? html`<${Tag} tone="live" icon="live">New events appear by themselves<//>` : html`<span class="quiet">${why}</span>`}</p>`;

export function Events() {
  const given = place.value.query;
  const search = searchHere();
  const position = Number(given.get('position')) || null;
  const isOff = given.get('live') === 'off';
  // Whether the list follows is asked when something happens, and not when it is first loaded.
  const isFollowing = useRef(false);
  const isHeld = useRef(false);
  const led = useRef(position);
  const { resource, more, isReading } = usePages([query({ ...search.filter, order: search.order })], async (at, { signal }) => (
    at === null ? readFirst(search, led.current, signal) : readFrom(search, Number(at), signal)
  ), (/** @type {any} */ event) => event.position, { concerns: () => isFollowing.current, isHeld: () => isHeld.current, apart: APART });
  const isInside = !!resource.data.value?.isInside;
  const isAtNewest = search.order === 'desc' && !isInside && !search.filter.to;
  const follows = isAtNewest && !isOff && position === null;
  isFollowing.current = follows;
  isHeld.current = isOff || position !== null;
  // What came while the list stood still.
  useEffect(() => {
    if (follows && resource.data.peek() && !resource.request) resource.reload();
  }, [resource, follows]);
  const why = isOff ? 'The list stands still.' : position !== null ? 'While an event is open, the list stands still.'
    : isInside ? 'The list begins amid the log.' : search.order === 'asc' ? 'The oldest come first.' : 'The span has an end.';
  const newest = () => {
    led.current = null;
    setQuery({ position: null });
    // What is known is elsewhere in the log.
    resource.data.value = null;
    resource.reload();
  };
  return html`<h1 tabindex="-1">Events</h1>
    <p class="quiet lead">The log itself: what was recorded, in the order of its positions.</p>
    <${Filters}>
      <${Field} name="type" label="Type" clears=${CLEARS} suggestions=${TYPES} placeholder="call.status_changed" />
      <${Field} name="call_sid" label="Call" clears=${CLEARS} placeholder="CA…" />
      <${Field} name="source" label="Source" clears=${CLEARS} suggestions=${SOURCES} placeholder="webhook" />
      <${Field} name="order" label="Order" clears=${CLEARS} options=${[['', 'Newest first'], ['asc', 'Oldest first']]} />
      <${Field} name="from" label="Recorded from" kind="time" clears=${CLEARS} />
      <${Field} name="to" label="Recorded before" kind="time" clears=${CLEARS} />
    <//>
    <section class="card" aria-label="Events"><${Following} follows=${follows} why=${why} />
      <${Loaded} of=${resource} what="events">${(/** @type {any} */ { items, next }) => html`
        ${isInside && html`<p class="more"><button type="button" onClick=${newest}>${search.order === 'desc' ? 'To the newest' : 'To the oldest'}</button></p>`}
        ${led.current !== null && position === led.current && !items.some((/** @type {any} */ event) => event.position === position)
          && html`<p class="problem"><${Icon} name="failed" />Position ${count(position)} is not among these events. <a href=${withQuery({ position: null })}>Look at them all the same</a></p>`}
        ${items.length === 0 ? html`<${Empty} title=${next === null ? 'No events match' : 'None found so far'}>${next === null ? 'Change the filters to see others.' : 'A part of the log has been gone through.'}<//>`
          : html`<${Folds} label="Events">${items.map((/** @type {any} */ event) => html`<${Row} key=${event.position} event=${event} isOpen=${event.position === position} reveal=${event.position === position && led.current === position} />`)}<//>`}
        ${next !== null && html`<p class="more"><${Do} doing=${isReading} onClick=${more}>${isReading ? 'Loading…' : items.length === 0 ? 'Search on' : search.order === 'desc' ? 'Older events' : 'Newer events'}<//></p>`}`}<//>
    </section>`;
}
