// Calls across threads, as a table that can be filtered and taken away as CSV; and the page of one call.

import { Filters, chosen } from '../filters.js';
import { Unread, useFound, useListing } from '../listing.js';
import { query } from '../api.js';
import { Direction, Empty, Icon, Loaded, Standing, When } from '../parts.js';
import { parts } from '../route.js';
import { Rows } from '../rows.js';
import { html } from '../view.js';
import { calledAs, party, renamed, spoken } from '../words.js';
import { CallPage } from './call.js';

const HEIGHT = 52;

/** @param {{ call: any }} props */
function Row({ call }) {
  const { direction, call_status: status, missed, live, contact, line, duration } = call;
  const { name } = calledAs(contact);
  return html`<a class="call-line" href=${`/calls/${call.external_id}`}>
    <span class="quiet"><${When} at=${call.call.start_time} /></span>
    <strong class="cut">${name}</strong>
    <${Direction} direction=${direction} />
    <span class="quiet cut">${line ? party(line) : '–'}</span>
    <span><${Standing} call=${{ status, live, missed, direction }} /></span>
    <span class="length">${live ? '…' : spoken(duration)}</span>
    <span class="heard">${call.call.recording_url && html`<${Icon} name="play" /><span class="spoken">with a recording</span>`}</span>
  </a>`;
}

/** What the stream says of a call. @param {any} call @param {import('../feed.js').Frame} frame */
function patched(call, { data: { entry, changed, handle, name } }) {
  if (changed === 'name' && call.contact?.handle === handle) {
    return { ...call, contact: renamed(call.contact, name) };
  }
  if (entry?.sid !== call.external_id) return call;
  const { status, live, missed, duration, startTime } = entry;
  return { ...call, call_status: status, live, missed, duration, created_at: startTime, call: { ...call.call, start_time: startTime } };
}

function List() {
  const filters = chosen();
  const listing = useListing([JSON.stringify(filters)], () => ({
    path: '/api/calls', parameters: { ...filters, limit: 40 }, items: 'calls',
    id: (/** @type {any} */ call) => call.id, at: (/** @type {any} */ call) => call.created_at, apart: 1_000,
    // A filter may let a call in that changes; without one only a new call moves the others, and one that is over may have
    // got a recording.
    concerns: ({ data: { entry, callSid } }, calls) => (!entry ? calls.some((call) => call.external_id === callSid) : Object.values(filters).some(Boolean) || !entry.live || !calls.some((call) => call.external_id === entry.sid)),
    patch: patched, keep: true,
  }));
  useFound(listing, ['call', 'calls']);
  return html`<${Loaded} of=${listing.first} what="calls">${() => listing.items.value.length === 0
    ? Object.values(filters).some(Boolean) ? html`<${Empty} title="No such call"><a href="/calls">Show all calls</a><//>` : html`<${Empty} title="There is no call yet">The first one appears here by itself.<//>`
    : html`<div class="call-line call-line-head" aria-hidden="true"><span>Began</span><span>Who</span><span>Direction</span><span>Line</span><span>Outcome</span><span class="length">Length</span><span></span></div>
      <${Rows} items=${listing.items.value} height=${HEIGHT} label="Calls" total=${listing.total.value} onEnd=${listing.more}
        id=${(/** @type {any} */ call) => call.id} row=${(/** @type {any} */ call) => html`<${Row} call=${call} />`} />
      <${Unread} of=${listing} />`}<//>`;
}

function Calls() {
  return html`<section class="card" aria-labelledby="calls">
    <header class="head"><h1 id="calls" tabindex="-1">Calls</h1>
      <a class="button" href=${`/api/calls${query({ ...chosen(), format: 'csv' })}`} download="calls.csv"><${Icon} name="download" />CSV</a></header>
    <${Filters} />
    <${List} />
  </section>`;
}

export function CallsPage() {
  const sid = parts.value[1];
  return sid ? html`<${CallPage} key=${sid} sid=${sid} />` : html`<${Calls} />`;
}
