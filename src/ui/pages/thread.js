// One thread: whom it is with, what people have written down, and each call as one entry.

import { announce, complain } from '../announce.js';
import { Refused, change, may } from '../api.js';
import { Editable, undoable } from '../editing.js';
import { useKeys } from '../keys.js';
import { useListing } from '../listing.js';
import { Direction, Empty, Icon, Loaded, Standing, When, today } from '../parts.js';
import { TimeSlider, moment, useLookingBack } from '../past.js';
import { Player } from '../player.js';
import { read, useResource } from '../resource.js';
import { place, withQuery } from '../route.js';
import { html, useEffect, useRef, useState } from '../view.js';
import { count, dayOf, exactly, instant, party, spoken } from '../words.js';
import { nameOf } from './inbox.js';

/** How many calls are gone through for the one that a link names. */
const FURTHEST = 400;

/** @param {string} id */
const about = (id) => (/** @type {import('../feed.js').Frame} */ { data }) => (data.entry ?? data).conversationId === id;

/** Whether a frame is about one of these calls, wherever that is by now. @param {import('../feed.js').Frame} frame @param {any[]} calls */
const isOneOf = ({ data }, calls) => calls.some(({ external_id: sid }) => sid === data.callSid || sid === data.entry?.sid);

/**
 * Changes what people know of somebody, as they have seen it: who edits what somebody else has changed is told so.
 * @param {import('../resource.js').Resource<any>} card
 * @param {any} fields
 * @param {number} version that they have seen
 */
async function save(card, fields, version) {
  const { id } = card.data.value;
  try {
    card.data.value = await change('PATCH', `/api/contacts/${id}`, fields, { version });
  } catch (error) {
    if (error instanceof Refused && error.status === 412) await card.reload();
    throw error;
  }
}

/** What was written down then, with the calls of then. @param {{ contact: any, thread: any }} props */
function PastCard({ contact, thread }) {
  const { name, number } = nameOf({ ...thread, contact });
  return html`<h1 class="thread-name">${name}</h1><p class="quiet">${number}</p>
    <div class="thread-facts">
      ${contact?.tags.length > 0 && html`<span class="tags">${contact.tags.map((/** @type {string} */ tag) => html`<span class="tag">${tag}</span>`)}</span>`}
      ${contact?.notes && html`<span class="notes">${contact.notes}</span>`}
    </div>`;
}

/** @param {{ contactId: string, thread: any }} props */
function Card({ contactId, thread }) {
  const card = useResource([contactId], read(`/api/contacts/${contactId}`),
    ({ name, data }) => name === 'contact.updated' && data.handle === thread.external_id);
  const locked = !may('dispatcher');
  return html`<${Loaded} of=${card} what="what is known of them">${(/** @type {any} */ { name, notes, tags, phone_number, handle, version }) => html`
    <h1 class="thread-name"><${Editable} label="Name" about=${contactId} value=${name} version=${version} longest=${200} disabled=${locked}
      shown=${html`<span>${name ?? phone_number ?? party(handle)}</span>`} save=${(/** @type {string} */ text, /** @type {number} */ seen) => save(card, { name: text || null }, seen)} /></h1>
    <p class="quiet">${phone_number ?? party(handle)}</p>
    <div class="thread-facts">
      <${Editable} label="Tags" about=${contactId} version=${version} value=${tags.join(', ')} longest=${2_000} disabled=${locked} hint="Separated by commas. Enter saves, Escape leaves them as they were"
        shown=${tags.length ? html`<span class="tags">${tags.map((/** @type {string} */ tag) => html`<span class="tag">${tag}</span>`)}</span>` : html`<span class="quiet">No tags</span>`}
        save=${(/** @type {string} */ text, /** @type {number} */ seen) => save(card, { tags: text.split(',').map((tag) => tag.trim()).filter(Boolean) }, seen)} />
      <${Editable} label="Notes" about=${contactId} version=${version} value=${notes} many longest=${10_000} disabled=${locked}
        shown=${notes ? html`<span class="notes">${notes}</span>` : html`<span class="quiet">No notes</span>`}
        save=${(/** @type {string} */ text, /** @type {number} */ seen) => save(card, { notes: text || null }, seen)} />
    </div>`}<//>`;
}

/** @param {{ thread: any, of: import('../resource.js').Resource<any>, calls: any[] }} props */
function Actions({ thread, of, calls }) {
  const { id, archived, unread_count, last_message_at } = thread;
  const at = `/api/conversations/${id}/state`;
  const put = (/** @type {any} */ fields) => async () => {
    of.outdated((await change('PATCH', at, fields)).position);
  };
  const archive = () => undoable(archived ? 'Thread is open again' : 'Thread archived',
    put(archived ? { archived: false } : { archived: true, archived_up_to: last_message_at }), put({ archived: !!archived }));
  // What was read cannot be made unread: the marker only moves on. So it moves when nobody has taken it back.
  /** Up to which position the page must come to show what was marked; nothing is sent while that is beyond all. */
  const [marked, setMarked] = useState(0);
  const isMarked = marked > of.asOf;
  const archiving = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const read = () => {
    // By the calls that are shown, whatever the clock of this machine says.
    const ends = calls.map(({ call }) => call.end_time ?? call.start_time);
    const upTo = ends.reduce((last, end) => (instant(end) > instant(last) ? end : last), last_message_at);
    setMarked(Infinity);
    archiving.current?.focus();
    announce('Marked as read', {
      undo: () => setMarked(0),
      done: () => {
        change('PATCH', at, { read_up_to: upTo }, { keepalive: true }).then(({ position }) => {
          setMarked(position);
          of.outdated(position);
        }, (error) => {
          setMarked(0);
          complain(error);
        });
      },
    });
  };
  useKeys([
    { keys: 'e', does: archived ? 'Open the thread again' : 'Archive the thread', run: archive },
    { keys: 'r', does: 'Mark the thread as read', run: () => { if (unread_count > 0 && !isMarked) read(); } },
  ]);
  return html`<div class="thread-actions">
    ${unread_count > 0 && !isMarked && html`<span class="badge"><${Icon} name="missed" />${unread_count} unread</span>
      <button type="button" onClick=${read}><${Icon} name="done" />Mark as read</button>`}
    <button type="button" ref=${archiving} onClick=${archive}><${Icon} name="archive" />${archived ? 'Open again' : 'Archive'}</button>
  </div>`;
}

/** @param {{ leg: any }} props */
const Leg = ({ leg }) => html`<tr><th scope="row">${leg.metadata.hasParent ? 'Put through to' : 'From'}</th>
  <td>${party(leg.metadata.hasParent ? leg.call.to : leg.call.from)}</td>
  <td>${leg.call.status}</td><td>${spoken(leg.call.duration)}</td><td><${When} at=${leg.call.start_time} /></td></tr>`;

/** A call as one entry, its legs within. @param {{ call: any, isNamed: boolean, isPast: boolean }} props */
export function Entry({ call, isNamed, isPast }) {
  const [isOpen, setOpen] = useState(isNamed);
  const entry = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (isNamed) entry.current?.scrollIntoView({ block: 'center' });
  }, [isNamed]);
  const { direction, missed, live, call_status: status, line, metadata } = call;
  const { start_time, answered_at, end_time, recording_url, price, price_unit, sid } = call.call;
  const talk = metadata.talk_time;
  // Whoever was dialled on answered in a leg of their own.
  const answered = answered_at ?? (talk ? call.legs.map((/** @type {any} */ leg) => leg.call.answered_at).find(Boolean) : null);
  const wait = metadata.wait_time;
  const title = `${missed ? 'Missed call' : direction === 'inbound' ? 'Incoming call' : direction === 'outbound' ? 'Outgoing call' : 'Call'}`;
  return html`<li class="entry ${missed ? 'entry-missed' : ''} ${isNamed ? 'entry-named' : ''}" ref=${entry}>
    <article aria-label="${title}, ${exactly(start_time)}">
      <div class="entry-head">
        <${Direction} direction=${direction} /><${Standing} call=${{ status, live, missed, direction }} />
        <span class="entry-length">${live ? 'in progress' : talk ? `talked ${spoken(talk)}` : wait ? `rang ${spoken(wait)}` : spoken(call.duration)}</span>
        <span class="quiet entry-when"><${When} at=${start_time} /></span>
        <button type="button" class="plain" aria-expanded=${isOpen ? 'true' : 'false'} aria-label=${isOpen ? 'Hide details' : 'Show details'} onClick=${() => setOpen(!isOpen)}>
          <${Icon} name=${isOpen ? 'down' : 'right'} /></button>
      </div>
      ${recording_url && !isPast && html`<${Player} url=${recording_url} of=${`${title}, ${exactly(start_time)}`} />`}
      ${isOpen && html`<div class="entry-details">
        <dl class="facts">
          <div><dt>Began</dt><dd>${exactly(start_time)}</dd></div>
          <div><dt>Answered</dt><dd>${exactly(answered)}</dd></div>
          <div><dt>Ended</dt><dd>${exactly(end_time)}</dd></div>
          ${line && html`<div><dt>Line</dt><dd>${party(line)}</dd></div>`}
          ${wait !== null && wait !== undefined && html`<div><dt>Waited</dt><dd>${spoken(wait)}</dd></div>`}
          ${price && html`<div><dt>Price</dt><dd>${price} ${price_unit}</dd></div>`}
        </dl>
        <div class="scrolling" tabindex="0" role="region" aria-label="Legs"><table class="listed"><caption>Legs</caption>
          <thead><tr><th scope="col">Leg</th><th scope="col">Party</th><th scope="col">Status</th><th scope="col">Length</th><th scope="col">Began</th></tr></thead>
          <tbody>${call.legs.map((/** @type {any} */ leg) => html`<${Leg} key=${leg.external_id} leg=${leg} />`)}</tbody></table></div>
        <p><a href=${`/calls/${sid}`}>All about this call</a> · <a href=${`/calls/${sid}?tab=explain`}>Explain it</a></p>
      </div>`}
    </article>
  </li>`;
}

/**
 * The calls of a thread, now or as of a position. While another moment is being asked for, those of the last one are
 * there, and it is said that they are not those that are wanted.
 * @param {string} id
 * @param {number | null} asOf
 */
function useCalls(id, asOf) {
  const wanted = useListing([id, asOf], () => ({
    path: `/api/conversations/${id}/messages`, parameters: { limit: 20, as_of: asOf }, items: 'messages',
    id: (/** @type {any} */ call) => call.id, at: (/** @type {any} */ call) => call.created_at,
    concerns: asOf === null ? (frame, calls) => about(id)(frame) || isOneOf(frame, calls) : undefined,
  }));
  const shown = useRef({ listing: wanted, asOf });
  if (wanted.first.data.value || wanted.first.error.value) shown.current = { listing: wanted, asOf };
  return { listing: shown.current.listing, isThere: shown.current.asOf === asOf };
}

/** @param {{ listing: import('../listing.js').Listing<any>, asOf: number | null }} props */
function Calls({ listing, asOf }) {
  const named = place.value.query.get('call');
  const isMissing = named !== null && !listing.items.value.some((call) => call.external_id === named);
  // The call that a link names may be further back than the first page.
  useEffect(() => {
    if (isMissing && listing.cursor.value && listing.items.value.length < FURTHEST) listing.more();
  }, [isMissing, listing, listing.items.value.length]);
  void today.value;
  return html`<${Loaded} of=${listing.first} what="calls">${() => {
    const calls = listing.items.value;
    if (calls.length === 0) return html`<${Empty} title=${asOf === null ? 'There is no call in this thread' : 'No call of this thread was known then'} />`;
    let day = '';
    return html`<p class="quiet">${count(listing.total.value)} ${listing.total.value === 1 ? 'call' : 'calls'}</p>
      <ol class="entries" aria-label="Calls of this thread">${calls.map((/** @type {any} */ call) => {
        const its = dayOf(call.created_at);
        const heading = its !== day && html`<li class="day" key=${`day ${its}`}><h2>${its}</h2></li>`;
        day = its;
        return html`${heading}<${Entry} key=${call.id} call=${call} isNamed=${call.external_id === named} isPast=${asOf !== null} />`;
      })}</ol>
      ${listing.cursor.value && html`<${Older} listing=${listing} />`}`;
  }}<//>`;
}

/** Reads what is older when one comes near to it, and by a button. @param {{ listing: import('../listing.js').Listing<any> }} props */
function Older({ listing }) {
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const watcher = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && listing.more(), { rootMargin: '400px' });
    if (end.current) watcher.observe(end.current);
    return () => watcher.disconnect();
  }, [listing, listing.items.value.length]);
  return html`<p class="older" ref=${end}>${listing.problem.value && html`<span class="problem">${listing.problem.value.message}</span>`}
    <button type="button" disabled=${listing.isReading.value} onClick=${listing.more}>${listing.isReading.value ? 'Loading older calls…' : 'Older calls'}</button></p>`;
}

/** @param {{ id: string }} props */
function Past({ id }) {
  const moments = useResource([id], read(`/api/conversations/${id}/moments`, { limit: 200 }), about(id));
  return html`<${Loaded} of=${moments} what="what was recorded">${(/** @type {any} */ page) =>
    html`<${TimeSlider} events=${page.moments.toReversed()} what="thread" isCut=${page.next_before !== null} />`}<//>`;
}

/** @param {{ id: string }} props */
export function Thread({ id }) {
  const thread = useResource([id], read(`/api/conversations/${id}`), about(id));
  const asOf = moment();
  const { listing: calls, isThere } = useCalls(id, asOf);
  const [isLooking, look] = useLookingBack();
  useKeys([{ keys: 't', does: 'Look back in time', run: look }]);
  const [, rest = ''] = withQuery({ as_of: null, call: null }).split('?');
  return html`
    <p class="back"><a href=${`/inbox${rest && `?${rest}`}`}><${Icon} name="left" />All threads</a></p>
    <${Loaded} of=${thread} what="the thread">${(/** @type {any} */ conversation) => html`
      <header class="thread-head">
        <div>${conversation.contact && asOf !== null ? html`<${PastCard} contact=${calls.items.value[0]?.contact} thread=${conversation} />`
          : conversation.contact ? html`<${Card} contactId=${conversation.contact.id} thread=${conversation} />`
          : html`<h1 class="thread-name">${nameOf(conversation).name}</h1><p class="quiet">Callers who withhold their number cannot be told apart, so they share one thread.</p>`}</div>
        <div class="thread-tools">
          ${asOf === null && isThere && may('dispatcher') && html`<${Actions} thread=${conversation} of=${thread} calls=${calls.items.value} />`}
          <button type="button" aria-expanded=${isLooking ? 'true' : 'false'} onClick=${look}><${Icon} name="past" />Look back</button>
        </div>
      </header>
      ${conversation.stale && html`<p class="warning"><${Icon} name="failed" />A call of this thread is quarantined, so it may lack something.</p>`}
      ${isLooking && html`<${Past} id=${id} />`}
      ${!isThere && html`<p class="quiet"><span class="spinner" aria-hidden="true"></span>Loading ${asOf === null ? 'what is known now' : 'what was known then'}…</p>`}
      <div class=${isThere ? undefined : 'waiting'}><${Calls} listing=${calls} asOf=${asOf} /></div>`}<//>`;
}
