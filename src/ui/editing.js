// What people enter, edited where it stands. Who has seen an older version than there is, is told so, and nothing of
// theirs is thrown away.

import { announce, complain } from './announce.js';
import { Refused } from './api.js';
import { Icon } from './parts.js';
import { html, useId, useLayoutEffect, useRef, useState } from './view.js';

/** What somebody has begun to write and has not saved, by what it is about: it is there when they come back. */
const drafts = new Map();

/** What was begun is of whoever began it. */
export const forgetDrafts = () => drafts.clear();

/**
 * A text that becomes a field when somebody wants to change it.
 * @param {{
 *   label: string, about: string, value: string | null, version: number, shown: any,
 *   save: (value: string, version: number) => Promise<unknown>,
 *   many?: boolean, longest: number, disabled?: boolean, hint?: string,
 * }} props `about`: what the text is of; `version`: which one of it the value is from; `shown`: what stands there while
 *   nobody edits it
 */
export function Editable({ label, about, value, version, shown, save, many, longest, disabled, hint }) {
  const key = `${about} ${label}`;
  const kept = drafts.get(key);
  const [draft, setDraft] = useState(/** @type {string | null} */ (kept?.text ?? null));
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const field = useRef(/** @type {HTMLInputElement | HTMLTextAreaElement | null} */ (null));
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const wasOpen = useRef(draft !== null);
  /** What whoever edits has seen, and what there is by now. */
  const seen = useRef(kept?.seen ?? { value, version });
  const latest = useRef({ value, version });
  latest.current = { value, version };
  const id = useId();
  const isOpen = draft !== null && !disabled;
  // Whoever opened it wants to type, and whoever closed it wants to go on where they were.
  useLayoutEffect(() => {
    if (isOpen && !wasOpen.current) field.current?.focus();
    if (!isOpen && wasOpen.current) button.current?.focus();
    wasOpen.current = isOpen;
  }, [isOpen]);
  const write = (/** @type {string} */ text) => {
    drafts.set(key, { text, seen: seen.current });
    setDraft(text);
  };
  const open = () => {
    seen.current = latest.current;
    write(value ?? '');
  };
  const close = () => {
    drafts.delete(key);
    setDraft(null);
    setProblem('');
  };
  /** Saves over what was seen; what somebody else has changed beside it is no reason to ask. @param {string} text */
  const put = async (text) => {
    try {
      await save(text, seen.current.version);
    } catch (error) {
      const isOlder = error instanceof Refused && error.status === 412;
      if (!isOlder || latest.current.value !== seen.current.value) throw error;
      seen.current = latest.current;
      await save(text, seen.current.version);
    }
  };
  const keep = async () => {
    if (draft === null || busy) return;
    if (draft.trim() === (seen.current.value ?? '')) return close();
    setBusy(true);
    try {
      await put(draft.trim());
      announce(`${label} saved`);
      close();
    } catch (error) {
      const isOlder = error instanceof Refused && error.status === 412;
      setProblem(isOlder ? `Somebody else has changed it meanwhile, to “${latest.current.value ?? ''}”. Save again to replace that.`
        : error instanceof Error ? error.message : String(error));
      // They have seen it now.
      if (isOlder) seen.current = latest.current;
    } finally {
      setBusy(false);
    }
  };
  if (!isOpen) {
    return html`<span class="editable">${shown}
      ${!disabled && html`<button type="button" class="plain" ref=${button} aria-label=${`Edit ${label.toLowerCase()}`} onClick=${open}><${Icon} name="edit" /></button>`}</span>`;
  }
  const attributes = {
    id, ref: field, value: draft, readOnly: busy, maxlength: longest, 'aria-describedby': `${id}-hint`, 'aria-invalid': problem ? 'true' : 'false',
    onInput: (/** @type {any} */ event) => write(event.target.value),
    onKeyDown: (/** @type {KeyboardEvent} */ event) => {
      // It ends what an input method composes.
      if (event.isComposing) return;
      if (event.key === 'Escape') close();
      if (event.key === 'Enter' && (!many || event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        keep();
      }
    },
  };
  return html`<form class="editing" onSubmit=${(/** @type {Event} */ event) => {
    event.preventDefault();
    keep();
  }}>
    <label for=${id}>${label}</label>
    ${many ? html`<textarea rows="4" ...${attributes}></textarea>` : html`<input type="text" ...${attributes} />`}
    <span class="quiet" id="${id}-hint">${hint ?? (many ? 'Ctrl+Enter saves, Escape leaves it as it was' : 'Enter saves, Escape leaves it as it was')}</span>
    ${problem && html`<p class="problem" role="alert"><${Icon} name="failed" />${problem}</p>`}
    <span class="editing-buttons"><button type="submit" class="main" disabled=${busy}>Save</button>
      <button type="button" onClick=${close}>Cancel</button></span>
  </form>`;
}

/**
 * Does something that can be taken back.
 * @param {string} text what has been done
 * @param {() => Promise<unknown>} run
 * @param {() => Promise<unknown>} back
 */
export async function undoable(text, run, back) {
  try {
    await run();
    announce(text, { undo: () => { back().then(() => announce('Undone'), complain); } });
  } catch (error) {
    complain(error);
  }
}
