// Looking back: a slider over what was recorded, and what was known at each of those moments.

import { Icon } from './parts.js';
import { place, setQuery } from './route.js';
import { html, useEffect, useRef, useState } from './view.js';
import { exactly } from './words.js';

/** The moment that the address asks for: a position of the log. */
export function moment() {
  const text = place.value.query.get('as_of');
  return text && /^\d+$/.test(text) ? Number(text) : null;
}

/**
 * Whether somebody looks back, and how to begin and end it: whoever ends it is back in the present.
 * @returns {[boolean, () => void]}
 */
export function useLookingBack() {
  const [wanted, setWanted] = useState(false);
  const isPast = moment() !== null;
  const isLooking = wanted || isPast;
  // Whoever goes back to now by the slider still has it.
  useEffect(() => {
    if (isPast) setWanted(true);
  }, [isPast]);
  const turn = () => {
    setWanted(!isLooking);
    if (isLooking) setQuery({ as_of: null });
  };
  return [isLooking, turn];
}

/** @typedef {{ position: number, recorded_at: string, type: string, status?: string | null, summary?: any }} Event */

/** What an event was, in a few words. @param {Event} event */
export function told({ type, status: said, summary }) {
  const status = (said ?? summary?.status ?? 'unknown').replace('-', ' ');
  switch (type) {
    case 'call.created': return `first heard of: ${status}`;
    case 'call.status_changed': return status;
    case 'call.dial_completed': return 'the dial ended';
    case 'call.details_reconciled': return 'details were added';
    case 'call.reclassified': return 'judged again by other lines';
    case 'call.frozen': return 'settled for good';
    case 'recording.ready': return 'the recording is ready';
    default: return type.replace(/^[a-z]+\./, '').replaceAll('_', ' ');
  }
}

/**
 * The moments of something, the oldest first; the end of the slider is the present.
 * @param {{ events: Event[], what: string, isCut?: boolean }} props `isCut`: there were moments before these
 */
export function TimeSlider({ events, what, isCut }) {
  const asOf = moment();
  // The last moment that is not after the one that is asked for.
  const found = asOf === null ? events.length : events.findLastIndex((event) => event.position <= asOf);
  const index = Math.max(0, found);
  const event = asOf === null ? null : events[found];
  const slider = useRef(/** @type {HTMLElement | null} */ (null));
  /** @param {number} to */
  const look = (to) => setQuery({ as_of: to >= events.length ? null : String(events[to].position) }, { replace: asOf !== null });
  const isPast = asOf !== null;
  const before = `before all of these moments, at position ${asOf}`;
  const said = event ? `${exactly(event.recorded_at)}, ${told(event)}` : isPast ? before : 'now';
  return html`<section class="past ${isPast ? 'past-on' : ''}" aria-label="Time travel">
    <label for="past"><${Icon} name="past" />As it was known</label>
    <button type="button" class="plain" aria-label="One event earlier" disabled=${index <= 0} onClick=${() => look(index - 1)}><${Icon} name="left" /></button>
    <input id="past" ref=${slider} type="range" min="0" max=${events.length} step="1" value=${index} aria-valuetext=${said}
      onInput=${(/** @type {any} */ input) => look(Number(input.target.value))} />
    <button type="button" class="plain" aria-label="One event later" disabled=${asOf === null} onClick=${() => look(found + 1)}><${Icon} name="right" /></button>
    <p>${event ? html`<strong>${exactly(event.recorded_at)}</strong> · ${told(event)} · position ${event.position}` : isPast ? `This is ${before}.` : 'Now'}</p>
    ${isPast && html`<button type="button" onClick=${() => {
      setQuery({ as_of: null });
      slider.current?.focus();
    }}>Back to now</button>`}
    ${isPast && html`<p class="past-note">You see this ${what} as callbook knew it then. Nothing can be changed in the past.</p>`}
    ${isCut && html`<p class="quiet">What was recorded before these ${events.length} events is not on this slider.</p>`}
  </section>`;
}
