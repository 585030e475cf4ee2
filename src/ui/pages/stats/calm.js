// For what changes all the time: it is asked for again no more often than somebody can read it.

/**
 * The same load, with a pause after the last one where the stream is the reason to ask again. Whoever asks for the
 * first time, or again after a failure, does not wait.
 * @template T
 * @param {(asked: import('../../resource.js').Asked) => Promise<T>} load
 * @param {number} apart milliseconds
 * @returns {(asked: import('../../resource.js').Asked) => Promise<T>}
 */
export function calm(load, apart) {
  let last = -Infinity;
  return async (asked) => {
    await pause(last + apart - performance.now(), asked.signal);
    const data = await load(asked);
    last = performance.now();
    return data;
  };
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  if (ms <= 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
