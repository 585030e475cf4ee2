// For whoever runs callbook: how it is, what came in, what was recorded, and putting right what is not.

import { may, session } from '../api.js';
import { useKeys } from '../keys.js';
import { Icon } from '../parts.js';
import { go, parts } from '../route.js';
import { html } from '../view.js';
import { Events } from './ops/events.js';
import { Inbox } from './ops/inbox.js';
import { Overview } from './ops/overview.js';
import { Projections } from './ops/projections.js';
import { Quarantine } from './ops/quarantine.js';
import { Reconcile } from './ops/reconcile.js';
import { Tokens } from './ops/tokens.js';

/** @type {{ part: string, name: string, role: import('../api.js').Caller['role'], is: any }[]} */
const PARTS = [
  { part: '', name: 'Overview', role: 'engineer', is: Overview },
  { part: 'inbox', name: 'Inbox', role: 'engineer', is: Inbox },
  { part: 'events', name: 'Events', role: 'engineer', is: Events },
  { part: 'projections', name: 'Projections', role: 'engineer', is: Projections },
  { part: 'quarantine', name: 'Quarantine', role: 'engineer', is: Quarantine },
  { part: 'reconcile', name: 'Reconcile', role: 'engineer', is: Reconcile },
  { part: 'tokens', name: 'Tokens', role: 'admin', is: Tokens },
];

/** @param {string} part */
const address = (part) => (part ? `/ops/${part}` : '/ops');

/** @param {{ role: string }} props */
const NotForYou = ({ role }) => html`<div class="state state-empty"><h1 tabindex="-1"><${Icon} name="failed" /> This is for whoever runs callbook</h1>
  <p>It needs the role <strong>${role}</strong>; ${session.value?.caller?.name ?? 'this session'} has the role <strong>${session.value?.caller?.role ?? 'of nobody'}</strong>. An admin can make a token with another one.</p></div>`;

const Unknown = () => html`<div class="state state-empty"><h1 tabindex="-1">There is no such part</h1><p><a href="/ops">To the overview</a></p></div>`;

export function OpsPage() {
  const here = parts.value[1] ?? '';
  const mine = PARTS.filter(({ role }) => may(role));
  const found = PARTS.find(({ part }) => part === here);
  useKeys(mine.map(({ part, name }, index) => ({ keys: String(index + 1), does: `Operations: ${name}`, run: () => go(address(part)) })));
  if (mine.length === 0) return html`<${NotForYou} role="engineer" />`;
  const content = !found ? html`<${Unknown} />` : !may(found.role) ? html`<${NotForYou} role=${found.role} />` : html`<${found.is} key=${here} />`;
  return html`<div class="ops">
    <nav class="ops-nav" aria-label="Operations"><ul>${mine.map(({ part, name }) => html`<li key=${part}>
      <a href=${address(part)} aria-current=${part === here ? 'page' : undefined}>${name}</a></li>`)}</ul></nav>
    <div class="ops-part">${content}</div>
  </div>`;
}
