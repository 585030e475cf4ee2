// One call: its legs, its recording, what was recorded of it, and why it is what it is.

import { may } from '../api.js';
import { Direction, Icon, Loaded, Standing, When } from '../parts.js';
import { TimeSlider, moment, told, useLookingBack } from '../past.js';
import { Player } from '../player.js';
import { read, useResource } from '../resource.js';
import { place, withQuery } from '../route.js';
import { useKeys } from '../keys.js';
import { html } from '../view.js';
import { called, calledAs, exactly, party, spoken } from '../words.js';
import { Explain } from './explain.js';

const TABS = { legs: 'Legs', events: 'Events', explain: 'Explain' };

/** @param {{ leg: any }} props */
const Leg = ({ leg }) => html`<tr>
  <th scope="row">${leg.is_root ? 'The call' : 'Put through'}<br /><code>${leg.sid}</code></th>
  <td>${party(leg.from)}</td><td>${party(leg.to)}</td>
  <td>${leg.status ?? 'not announced'}${leg.provisional && html` <span class="quiet">(to be confirmed)</span>`}${leg.end_reason && html`<br /><span class="quiet">${leg.end_reason.replaceAll('_', ' ')}</span>`}</td>
  <td>${exactly(leg.started_at)}</td><td>${exactly(leg.answered_at)}</td><td>${exactly(leg.ended_at)}</td>
  <td>${spoken(leg.duration)}</td><td>${leg.price ? `${leg.price} ${leg.price_unit ?? ''}` : '–'}</td></tr>`;

/** @param {{ legs: any[] }} props */
const Legs = ({ legs }) => html`<div class="scrolling" tabindex="0" role="region" aria-label="Legs of this call">
  <table class="listed"><caption>Each leg as Twilio has it</caption>
    <thead><tr>${['Leg', 'From', 'To', 'Status', 'Began', 'Answered', 'Ended', 'Length', 'Price'].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${legs.map((leg) => html`<${Leg} key=${leg.sid} leg=${leg} />`)}</tbody></table></div>`;

/** @param {{ event: any }} props */
const Event = ({ event }) => html`<li class="event" id="event-${event.position}"><details>
  <summary><span class="event-position">${event.position}</span><strong>${told(event)}</strong>
    <span class="quiet">${exactly(event.recorded_at)} · ${event.source ?? 'callbook'} · version ${event.version}</span></summary>
  <pre tabindex="0" aria-label="Payload of event ${event.position}">${JSON.stringify(event.payload, null, 2)}</pre>
  ${may('engineer') && html`<p><a href=${`/ops/events?call_sid=${event.call_sid}&position=${event.position}`}>In the log</a></p>`}
</details></li>`;

/** @param {{ events: any[] }} props */
const Events = ({ events }) => html`<ol class="events" aria-label="Events of this call">${events.map((event) => html`<${Event} key=${event.position} event=${event} />`)}</ol>`;

/** @param {{ call: any, asOf: number | null }} props */
function Summary({ call, asOf }) {
  const { message, legs } = call;
  const who = message?.contact;
  const { name, number } = message ? calledAs(who) : called({ handle: legs[0]?.from });
  return html`<header class="head"><div>
      <h1 tabindex="-1">${name}</h1>
      <p class="quiet">${number && html`${number} · `}<code>${call.root_sid}</code></p>
      ${message ? html`<p class="call-facts"><${Direction} direction=${message.direction} />
          <${Standing} call=${{ status: message.call_status, live: message.live, missed: message.missed, direction: message.direction }} />
          <span>${spoken(message.duration)}</span><span class="quiet"><${When} at=${message.call.start_time} /></span></p>`
        : html`<p class="quiet">This call is not announced yet.</p>`}
      ${call.hidden_reason && html`<p class="quiet">No list shows it: ${call.hidden_reason.replaceAll('_', ' ')}.</p>`}
    </div>
    ${call.conversation_id && html`<a class="button" href=${`/inbox/${call.conversation_id}?call=${call.root_sid}`}>To the thread</a>`}
  </header>
  ${asOf === null && message?.call.recording_url && html`<${Player} url=${message.call.recording_url} of=${name} />`}`;
}

/** @param {{ sid: string }} props */
export function CallPage({ sid }) {
  const asOf = moment();
  /** @param {import('../feed.js').Frame} frame */
  const isOfIt = ({ data }) => {
    const root = call.data.peek()?.root_sid ?? sid;
    return data.callSid === sid || data.entry?.sid === root;
  };
  const call = useResource([sid, asOf], read(`/api/calls/${sid}`, { as_of: asOf }),
    asOf === null ? (frame) => isOfIt(frame) : undefined);
  const events = useResource([sid], async (asked) => {
    // All of them: the slider goes over each.
    const all = [];
    for (let last = /** @type {number | null} */ (0), position = 0; ;) {
      const page = await read(`/api/calls/${sid}/events`, { limit: 200, after: last })(asked);
      all.push(...page.events);
      position ||= page.position;
      last = page.next_after;
      if (last === null) return { events: all, position };
    }
  }, (frame) => isOfIt(frame));
  const [isLooking, look] = useLookingBack();
  useKeys([{ keys: 't', does: 'Look back in time', run: look }]);
  const asked = place.value.query.get('tab') ?? '';
  const tab = Object.hasOwn(TABS, asked) ? asked : 'legs';
  return html`<section class="card call" aria-label="Call">
    <p class="back"><a href="/calls"><${Icon} name="left" />All calls</a></p>
    <${Loaded} of=${call} what="the call">${(/** @type {any} */ it) => html`
      <${Summary} call=${it} asOf=${asOf} />
      <div class="head"><nav class="views" aria-label="About this call"><ul>${Object.entries(TABS).map(([name, text]) => html`
        <li key=${name}><a href=${withQuery({ tab: name === 'legs' ? null : name })} aria-current=${name === tab ? 'page' : undefined}>${text}</a></li>`)}</ul></nav>
        <button type="button" aria-expanded=${isLooking ? 'true' : 'false'} onClick=${look}><${Icon} name="past" />Look back</button></div>
      ${isLooking && html`<${Loaded} of=${events} what="what was recorded">${(/** @type {any} */ page) => html`<${TimeSlider} events=${page.events} what="call" />`}<//>`}
      ${tab === 'legs' && html`<${Legs} legs=${it.legs} />`}
      ${tab === 'events' && html`<${Loaded} of=${events} what="events">${(/** @type {any} */ page) =>
        html`<${Events} events=${page.events.filter((/** @type {any} */ event) => asOf === null || event.position <= asOf)} />`}<//>`}
      ${tab === 'explain' && html`<${Explain} sid=${sid} upTo=${asOf} isOfIt=${isOfIt} />`}`}<//>
  </section>`;
}
