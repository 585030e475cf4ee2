import { html } from '../view.js';
export const StatsPage = () => html`<p>soon</p>`;
