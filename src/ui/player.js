// Listening to a recording: its waveform, where one is in it, and how fast. What draws it is loaded when somebody wants
// to hear the first one.

import { Failure, Icon } from './parts.js';
import { html, useEffect, useRef, useState } from './view.js';
import { clock } from './words.js';

const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

/** Colours are given to a canvas, which knows no variables. @param {string} name */
const colour = (name) => {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};

/** What is heard: one at a time. @type {any} */
let heard = null;

/** @param {{ url: string, of: string }} props `of`: whose call it is, for whoever hears the page */
export function Player({ url, of }) {
  const [wanted, setWanted] = useState(false);
  if (!wanted) {
    return html`<button type="button" onClick=${() => setWanted(true)}><${Icon} name="play" />Listen</button>`;
  }
  return html`<${Wave} url=${url} of=${of} />`;
}

/** @param {{ url: string, of: string }} props */
function Wave({ url, of }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const wave = useRef(/** @type {any} */ (null));
  const [duration, setDuration] = useState(0);
  const [at, setAt] = useState(0);
  const [isPlaying, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(1);
  const chosen = useRef(speed);
  chosen.current = speed;
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    let isGone = false;
    setError(null);
    const begin = async () => {
      const { default: WaveSurfer } = await import('wavesurfer.js');
      if (isGone || !box.current) return;
      const surfer = WaveSurfer.create({
        container: box.current, url, height: 56, barWidth: 2, barGap: 1, barRadius: 1, normalize: true,
        waveColor: colour('--strong-edge'), progressColor: colour('--link'), cursorColor: colour('--text'),
        cspNonce: document.querySelector('script')?.nonce,
      });
      wave.current = surfer;
      surfer.on('ready', (seconds) => {
        setDuration(seconds);
        surfer.setPlaybackRate(chosen.current, true);
        // Where the browser lets a page begin to play by itself after a click.
        surfer.play().catch(() => {});
      });
      surfer.on('timeupdate', setAt);
      surfer.on('play', () => {
        if (heard !== surfer) heard?.pause();
        heard = surfer;
        setPlaying(true);
      });
      surfer.on('pause', () => setPlaying(false));
      surfer.on('finish', () => setPlaying(false));
      surfer.on('error', (problem) => !isGone && setError(new Error(`The recording cannot be played: ${problem.message}`)));
    };
    begin().catch((problem) => setError(problem));
    return () => {
      isGone = true;
      if (heard === wave.current) heard = null;
      wave.current?.destroy();
      wave.current = null;
    };
  }, [url, attempt]);
  // In the place of the button that was pressed.
  useEffect(() => button.current?.focus(), []);
  useEffect(() => {
    wave.current?.setPlaybackRate(speed, true);
  }, [speed]);

  if (error) return html`<${Failure} error=${error} again=${() => setAttempt(attempt + 1)} />`;
  return html`<div class="player" role="group" aria-label=${`Recording of ${of}`}>
    <button type="button" ref=${button} aria-label=${isPlaying ? 'Pause' : 'Play'} onClick=${() => wave.current?.playPause()}>
      <${Icon} name=${isPlaying ? 'pause' : 'play'} /></button>
    <div class="player-wave"><div ref=${box} aria-hidden="true"></div>
      <input type="range" aria-label="Place in the recording" min="0" max=${duration || 1} step="0.1" value=${at} disabled=${!duration}
        aria-valuetext=${`${clock(at)} of ${clock(duration)}`}
        onInput=${(/** @type {Event} */ event) => wave.current?.setTime(Number(/** @type {HTMLInputElement} */ (event.target).value))} /></div>
    <span class="player-time">${clock(at)} / ${duration ? clock(duration) : '…'}</span>
    <label class="player-speed"><span class="spoken">Speed</span>
      <select value=${String(speed)} onChange=${(/** @type {Event} */ event) => setSpeed(Number(/** @type {HTMLSelectElement} */ (event.target).value))}>
        ${SPEEDS.map((option) => html`<option value=${String(option)} selected=${option === speed}>${option} ×</option>`)}
      </select></label>
    <a class="button" href=${url} download aria-label="Download the recording"><${Icon} name="download" /></a>
  </div>`;
}
