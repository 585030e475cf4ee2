// Threads: what was exchanged with whom, the newest first, and beside the list the thread that the address names.

import { Filters, chosen } from '../filters.js';
import { Unread, useFound, useListing } from '../listing.js';
import { Empty, Icon, Loaded, Standing, When } from '../parts.js';
import { parts, place, withQuery } from '../route.js';
import { Rows } from '../rows.js';
import { html } from '../view.js';
import { called, calledAs, count, instant, renamed, standing, towards } from '../words.js';
import { Thread } from './thread.js';

const HEIGHT = 76;
/** Threads of the first page, which is read again when something happens. */
const PAGE = 30;

const VIEWS = {
  open: { name: 'Open', parameters: { archived: false }, empty: 'No thread is open', hint: 'A thread is here from its first call until somebody archives it.' },
  unread: { name: 'Unread', parameters: { unread: true }, empty: 'Nothing is unread', hint: 'A missed call makes its thread unread.' },
  archived: { name: 'Archived', parameters: { archived: true }, empty: 'Nothing is archived', hint: 'An archived thread comes back by itself when its customer calls.' },
};

function view() {
  const name = place.value.query.get('view') ?? 'open';
  return Object.hasOwn(VIEWS, name) ? /** @type {keyof typeof VIEWS} */ (name) : 'open';
}

/** The address of a thread in this list. @param {string} id */
const addressOf = (id) => {
  const [, rest = ''] = withQuery({ as_of: null, call: null }).split('?');
  return `/inbox/${id}${rest && `?${rest}`}`;
};

function Views() {
  const now = view();
  return html`<nav class="views" aria-label="Which threads"><ul>${Object.entries(VIEWS).map(([name, { name: text }]) => html`
    <li key=${name}><a href=${withQuery({ view: name === 'open' ? null : name })} aria-current=${name === now ? 'page' : undefined}>${text}</a></li>`)}</ul></nav>`;
}

/** What people are called by, and the number beside it if that is another thing. @param {any} conversation */
export function nameOf({ contact, external_id }) {
  return contact === undefined ? called({ handle: external_id }) : calledAs(contact);
}

/** @param {{ thread: any, isOpen: boolean }} props */
function Row({ thread, isOpen }) {
  const { name, number } = nameOf(thread);
  const last = thread.last_message;
  const call = last && { status: last.call_status, live: last.live, missed: last.missed, direction: last.direction };
  const unread = thread.unread_count;
  return html`<a class="thread-row ${unread ? 'thread-unread' : ''}" href=${addressOf(thread.id)} aria-current=${isOpen ? 'true' : undefined}>
    <span class="who"><strong>${name}</strong><span class="quiet">${number ?? (call && `${towards(call.direction)}, ${standing(call).word.toLowerCase()}`)}</span></span>
    <span class="thread-side"><span class="quiet"><${When} at=${thread.last_message_at} /></span>
      ${unread > 0 ? html`<span class="badge"><${Icon} name="missed" />${unread} unread</span>` : call && html`<${Standing} call=${call} />`}</span>
    ${thread.contact?.tags?.length > 0 && html`<span class="tags">${thread.contact.tags.map((/** @type {string} */ tag) => html`<span class="tag">${tag}</span>`)}</span>`}
  </a>`;
}

/** What the stream says of a thread. @param {any} thread @param {import('../feed.js').Frame} frame */
function patched(thread, { name, data }) {
  if (name === 'contact.updated' && data.handle === thread.external_id && thread.contact) {
    const { contact } = thread;
    if (data.changed === 'name') return { ...thread, contact: renamed(contact, data.name) };
    if (data.changed === 'tags') return { ...thread, contact: { ...contact, tags: data.tags } };
  }
  const about = data.entry ?? data;
  if (about.conversationId !== thread.id) return thread;
  const unread = about.unreadCount ?? thread.unread_count;
  const archived = about.archived ?? thread.archived;
  const shown = view();
  if (shown === 'unread' ? unread === 0 : archived !== (shown === 'archived')) return null;
  const last = thread.last_message;
  const isLast = !!data.entry && last?.external_id === data.entry.sid;
  if (!isLast && unread === thread.unread_count && archived === thread.archived) return thread;
  if (!isLast) return { ...thread, unread_count: unread, archived };
  const { status, live, missed, startTime } = data.entry;
  const call = { ...last, call_status: status, live, missed };
  return { ...thread, unread_count: unread, archived, last_message: call, last_message_at: startTime };
}

/**
 * Whether the list has to be read again: a thread moves to its top, or comes into it.
 * @param {import('../feed.js').Frame} frame @param {any[]} threads
 */
function moves({ name, data }, threads) {
  if (Object.values(chosen()).some(Boolean)) return true;
  if (name === 'contact.updated') return false;
  // Its newest call is shown no more, or has moved to another thread.
  const former = threads.find(({ last_message: last }) => data.callSid && last?.external_id === data.callSid);
  if (former && former.id !== data.entry?.conversationId) return true;
  const about = data.entry ?? data;
  const thread = threads.find(({ id }) => id === about.conversationId);
  if (thread) return !!data.entry && instant(data.entry.startTime) > instant(thread.last_message_at);
  const shown = view();
  return shown === 'unread' ? about.unreadCount > 0 : about.archived === (shown === 'archived');
}

function List() {
  const shown = view();
  const parameters = { ...chosen(), ...VIEWS[shown].parameters, limit: PAGE };
  const open = parts.value[1];
  const listing = useListing([JSON.stringify(parameters)], () => ({
    path: '/api/conversations', parameters, items: 'conversations',
    id: (/** @type {any} */ thread) => thread.id, at: (/** @type {any} */ thread) => thread.last_message_at,
    concerns: moves, patch: patched, apart: 1_000,
  }));
  useFound(listing, ['thread', 'threads']);
  const isFiltered = Object.values(chosen()).some(Boolean);
  return html`<${Loaded} of=${listing.first} what="threads">${() => listing.items.value.length === 0
    ? html`<${Empty} title=${isFiltered ? 'No thread has such a call' : VIEWS[shown].empty}>
        ${isFiltered ? html`<a href=${`/inbox${shown === 'open' ? '' : `?view=${shown}`}`}>Show all of ${VIEWS[shown].name.toLowerCase()}</a>` : VIEWS[shown].hint}<//>`
    : html`<p class="quiet list-total">${count(listing.total.value)} ${listing.total.value === 1 ? 'thread' : 'threads'}</p>
      <${Rows} items=${listing.items.value} height=${HEIGHT} label="Threads" total=${listing.total.value} onEnd=${listing.more}
        id=${(/** @type {any} */ thread) => thread.id}
        row=${(/** @type {any} */ thread) => html`<${Row} thread=${thread} isOpen=${thread.id === open} />`} />
      <${Unread} of=${listing} />`}<//>`;
}

export function InboxPage() {
  const id = parts.value[1];
  return html`<div class="inbox ${id ? 'inbox-thread' : ''}">
    <section class="card threads" aria-labelledby="threads">
      <${id ? 'h2' : 'h1'} id="threads" class=${id ? 'spoken' : ''}>Threads<//>
      <${Views} />
      <${Filters} />
      <${List} />
    </section>
    <section class="card thread" aria-label="Thread">
      ${id ? html`<${Thread} key=${id} id=${id} />` : html`<${Empty} title="Choose a thread">j and k go through the list, Enter opens one.<//>`}
    </section>
  </div>`;
}
