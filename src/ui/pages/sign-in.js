// Signing in: a token once, from then on a cookie that no script reads.

import { ask, session, whoAmI } from '../api.js';
import { forgetDrafts } from '../editing.js';
import { Icon } from '../parts.js';
import { go, place } from '../route.js';
import { html, useState } from '../view.js';

export function SignInPage() {
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const token = String(new FormData(form).get('token') ?? '').trim();
    if (!token) return setProblem('Paste the token that `callbook token create` showed you.');
    setBusy(true);
    try {
      session.value = (await ask('/api/session', { method: 'POST', json: { token } })).body;
      if (place.value.path === '/sign-in') go('/', { replace: true });
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return html`<section class="card sign-in" aria-labelledby="sign-in">
    <h1 id="sign-in" tabindex="-1">Sign in</h1>
    <p>callbook shows who called whom, so it has to know who looks. Use a token that whoever runs callbook gave you.</p>
    <form onSubmit=${submit}>
      <input type="text" name="username" autocomplete="username" value="callbook" hidden />
      <label for="token">Token</label>
      <input id="token" name="token" type="password" autocomplete="current-password" spellcheck="false" required
        aria-invalid=${problem ? 'true' : 'false'} aria-describedby=${problem ? 'token-problem' : undefined} />
      ${problem && html`<p id="token-problem" class="problem" role="alert"><${Icon} name="failed" />${problem}</p>`}
      <button type="submit" class="main" disabled=${busy}>${busy ? 'Signing in…' : 'Sign in'}</button>
    </form>
    <p class="quiet">Whoever runs callbook makes one with <code>callbook token create</code>.</p>
  </section>`;
}

/** Ends the session of this browser, in all of its tabs. */
export async function signOut() {
  await ask('/api/session', { method: 'DELETE' });
  forgetDrafts();
  await whoAmI();
}
