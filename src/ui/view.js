// What every part of the page is made of: Preact's elements written as templates, and signals.

import { h, render } from 'preact';
import htm from 'htm';

export { render };
export { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
export { batch, computed, effect, signal, useComputed } from '@preact/signals';

/** @type {(strings: TemplateStringsArray, ...values: unknown[]) => any} */
export const html = htm.bind(h);
