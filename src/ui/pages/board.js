// The live board: what is going on now, what today has been, and who was missed.

import { isOver, listen, state } from '../feed.js';
import { Direction, Empty, Icon, Loaded, Standing, When, now, today } from '../parts.js';
import { Resource, read, useResource } from '../resource.js';
import { Rows } from '../rows.js';
import { html, signal, useComputed, useEffect, useMemo } from '../view.js';
import { called, clock, count, instant, midnight, party, share, spoken, timeZone } from '../words.js';

/** @typedef {import('../feed.js').Entry} Entry */

const HEIGHT = 64;
/** Counting a day takes the database a while, and many people look at it: milliseconds. */
const FIGURES_APART = 10_000;

/** A call in progress as REST says it, in the words of the stream. @param {any} call @returns {Entry} */
const entryOf = (call) => ({
  sid: call.external_id,
  rootSid: call.metadata.parent_call_sid ?? call.external_id,
  conversationId: call.conversation_id,
  name: call.contact?.display_name ?? null,
  handle: call.contact?.handle ?? null,
  number: call.contact?.phone_number ?? null,
  direction: call.direction,
  status: call.call_status,
  missed: call.missed,
  live: call.live,
  line: call.line,
  startTime: call.call.start_time,
  answeredAt: call.call.answered_at,
  endTime: call.call.end_time,
  duration: call.duration,
  unreadCount: call.conversation?.unread_count ?? null,
  archived: call.conversation?.archived ?? null,
});

/**
 * The calls in progress: asked for once, then kept by what the stream tells. A row is a signal, so that an update of
 * one call draws one row.
 */
class Board {
  constructor() {
    /** @type {Map<string, import('@preact/signals').Signal<Entry>>} */
    this.calls = new Map();
    this.order = signal(/** @type {string[]} */ ([]));
    this.asOf = 0;
    /** What was told while the calls were being asked for, and may be newer than the answer. @type {import('../feed.js').Frame[] | null} */
    this.meanwhile = null;
    this.loaded = new Resource(async (asked) => {
      const meanwhile = this.meanwhile = [];
      const answer = await read('/api/conversations/active')(asked).finally(() => {
        if (this.meanwhile === meanwhile) this.meanwhile = null;
      });
      this.asOf = answer.position;
      this.calls = new Map(answer.calls.map((/** @type {any} */ call) => {
        const entry = entryOf(call);
        return [entry.sid, signalOf(entry)];
      }));
      this.apply(meanwhile);
      this.sort();
      return { position: answer.position };
    });
  }

  start() {
    const stop = this.loaded.start();
    const quiet = listen((frames) => this.apply(frames));
    return () => {
      quiet();
      stop();
    };
  }

  /** @param {import('../feed.js').Frame[]} frames */
  apply(frames) {
    this.meanwhile?.push(...frames);
    let changed = false;
    for (const { data } of frames) {
      // What was loaded is newer than this.
      if (data.asOf < this.asOf) continue;
      if (data.changed === 'name') this.rename(data.handle, data.name);
      const entry = /** @type {Entry | null | undefined} */ (data.entry);
      // A leg that stood for its call until the call itself was heard of, or a call that no list shows any more.
      if (entry?.sid !== data.callSid) changed = this.calls.delete(data.callSid) || changed;
      if (!entry) continue;
      const known = this.calls.get(entry.sid);
      if (known && entry.live) {
        changed ||= known.peek().startTime !== entry.startTime;
        known.value = entry;
      } else if (known) {
        this.calls.delete(entry.sid);
        changed = true;
      } else if (entry.live) {
        this.replaceLegs(entry);
        this.calls.set(entry.sid, signalOf(entry));
        changed = true;
      }
    }
    if (changed) this.sort();
  }

  /** @param {string} handle @param {string | null} name */
  rename(handle, name) {
    for (const call of this.calls.values()) {
      const entry = call.peek();
      if (entry.handle === handle) call.value = { ...entry, name };
    }
  }

  /** Legs that were there before their call. @param {Entry} entry */
  replaceLegs({ sid, rootSid }) {
    if (sid !== rootSid) return;
    for (const [other, call] of this.calls) {
      if (call.peek().rootSid === sid) this.calls.delete(other);
    }
  }

  /** The newest first, in an order that does not change while a call goes on. */
  sort() {
    const calls = [...this.calls.values()].map((call) => call.peek());
    const place = (/** @type {Entry} */ { startTime, sid }) => instant(startTime) + sid;
    const places = new Map(calls.map((call) => [call, place(call)]));
    calls.sort((a, b) => ((places.get(a) ?? '') < (places.get(b) ?? '') ? 1 : -1));
    this.order.value = calls.map((call) => call.sid);
  }
}

/** @param {Entry} entry */
const signalOf = (entry) => signal(entry);

/** Where a call is shown: in its thread, if it has one. @param {Entry} call */
const addressOf = ({ sid, conversationId }) => (conversationId ? `/inbox/${conversationId}?call=${sid}` : `/calls/${sid}`);

/** @param {{ call: Entry }} props */
const Who = ({ call }) => {
  const { name, number } = called(call);
  return html`<span class="who"><strong>${name}</strong>${number && html`<span class="quiet">${number}</span>`}</span>`;
};

/** @param {{ call: Entry }} props */
function Running({ call }) {
  const seconds = (now.value - Date.parse(call.startTime)) / 1_000;
  return html`<span class="running" role="timer" aria-live="off">${clock(seconds)}</span>`;
}

/** @param {{ call: import('@preact/signals').Signal<Entry> }} props */
function Row({ call }) {
  const { direction, line } = call.value;
  return html`<a class="call-row" href=${addressOf(call.value)}>
    <${Who} call=${call.value} />
    <${Direction} direction=${direction} />
    <span class="line quiet">${line ? party(line) : '–'}</span>
    <${Standing} call=${call.value} />
    <${Running} call=${call.value} />
  </a>`;
}

function InProgress({ board }) {
  const order = board.order.value;
  if (order.length === 0) {
    return html`<${Empty} title="No call is in progress">${state.value === 'live' ? 'The next one appears here by itself.' : 'What happens now is shown when the connection is back.'}<//>`;
  }
  return html`<${Rows} items=${order} height=${HEIGHT} label="Calls in progress" id=${(/** @type {string} */ sid) => sid}
    row=${(/** @type {string} */ sid) => {
      const call = board.calls.get(sid);
      return call && html`<${Row} call=${call} />`;
    }} />`;
}

function Today() {
  const figures = useResource([today.value], read('/api/stats', { by: 'day', tz: timeZone, from: midnight() }), isOver, { apart: FIGURES_APART, isLate: true });
  return html`<section class="card" aria-labelledby="today"><h2 id="today">Today</h2>
    <${Loaded} of=${figures} what="today's figures">${(/** @type {any} */ { total }) => html`<dl class="figures">
      <div><dt>Calls</dt><dd>${count(total.calls)}</dd></div>
      <div><dt>Answered</dt><dd>${count(total.answered)} <small>${share(total.answer_rate)}</small></dd></div>
      <div><dt>Missed</dt><dd>${count(total.missed)}</dd></div>
      <div><dt>Mean talk</dt><dd>${spoken(total.talk_time?.mean)}</dd></div>
      <div><dt>Mean wait</dt><dd>${spoken(total.wait_time?.mean)}</dd></div>
    </dl>`}<//>
  </section>`;
}

function Missed() {
  /** @param {string | undefined} sid */
  const isListed = (sid) => missed.data.peek()?.calls.some((/** @type {any} */ call) => call.external_id === sid);
  const missed = useResource([], read('/api/calls', { missed: true, limit: 8 }), (frame) => !!frame.data.entry?.missed || isListed(frame.data.entry?.sid) || isListed(frame.data.callSid)
    || frame.data.changed === 'name');
  return html`<section class="card" aria-labelledby="missed"><h2 id="missed">Recently missed</h2>
    <${Loaded} of=${missed} what="missed calls">${(/** @type {any} */ { calls }) => calls.length === 0
      ? html`<${Empty} title="Nobody was missed">Missed calls are listed here, the newest first.<//>`
      : html`<ul class="missed">${calls.map((/** @type {any} */ call) => {
        const entry = entryOf(call);
        return html`<li key=${entry.sid}><a href=${addressOf(entry)}>
          <${Icon} name="missed" /><${Who} call=${entry} /><span class="quiet"><${When} at=${entry.startTime} /></span></a></li>`;
      })}</ul>`}<//>
  </section>`;
}

export function BoardPage() {
  const board = useMemo(() => new Board(), []);
  useEffect(() => board.start(), [board]);
  const going = useComputed(() => board.order.value.length);
  return html`
    <div class="board">
      <section class="card in-progress" aria-labelledby="in-progress">
        <h1 id="in-progress" tabindex="-1">In progress <span class="number">${going}</span></h1>
        <${Loaded} of=${board.loaded} what="calls in progress">${() => html`<${InProgress} board=${board} />`}<//>
      </section>
      <div class="side"><${Today} /><${Missed} /></div>
    </div>`;
}
