// Where somebody is: the address of the page is the whole state of what it shows, so that a link, the back button and
// a reload lead to the same.

import { computed, signal } from './view.js';

/** @param {{ pathname: string, search: string }} at */
const read = ({ pathname, search }) => ({ path: pathname, query: new URLSearchParams(search) });

/** The address. */
export const place = signal(read(location));
/** The parts of its path: `['inbox', '817…']`. */
export const parts = computed(() => place.value.path.split('/').filter(Boolean));

/** How often somebody went elsewhere, so that what depends on it can tell going there from having been there. */
export const visits = signal(0);

/**
 * Goes to another address of the page.
 * @param {string} to
 * @param {{ replace?: boolean }} [how] `replace`: going back does not lead here
 */
export function go(to, { replace = false } = {}) {
  const url = new URL(to, location.href);
  if (url.href === location.href) return;
  const elsewhere = url.pathname !== location.pathname;
  // Whoever comes back is where they were.
  if (!replace) history.replaceState({ y: scrollY }, '');
  history[replace ? 'replaceState' : 'pushState'](null, '', url);
  place.value = read(url);
  if (elsewhere) {
    visits.value += 1;
    scrollTo(0, 0);
  }
}

/**
 * Sets parameters of the address and leaves the others; what is empty is left out of it.
 * @param {Record<string, string | null | undefined>} changes
 * @param {{ replace?: boolean }} [how]
 */
export function setQuery(changes, how) {
  go(withQuery(changes), how);
}

/**
 * The address here with other parameters.
 * @param {Record<string, string | null | undefined>} changes
 */
export function withQuery(changes) {
  const query = new URLSearchParams(place.value.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  return place.value.path + (text && `?${text}`);
}

history.scrollRestoration = 'manual';
addEventListener('popstate', ({ state }) => {
  const before = place.value.path;
  place.value = read(location);
  if (place.value.path === before) return;
  visits.value += 1;
  // When it has been drawn.
  requestAnimationFrame(() => requestAnimationFrame(() => scrollTo(0, state?.y ?? 0)));
});

// Links within the page do not load it again.
addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (!/^\/($|(inbox|calls|stats|ops|sign-in)(\/|$))/.test(link.pathname)) return;
  event.preventDefault();
  go(link.href);
});
