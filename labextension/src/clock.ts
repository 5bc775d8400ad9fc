import { useEffect, useState } from 'react';

/** The time in milliseconds, a second old at most while `ticking`. */
function useNow(ticking: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!ticking) {
      return;
    }
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, [ticking]);
  return now;
}

/**
 * The seconds that something has lasted by now.
 *
 * @param seconds how long it had lasted at `received`.
 * @param received when that was told, in milliseconds as of `Date.now()`; null if
 *   it does not go on.
 */
export function useElapsed(seconds: number, received: number | null): number {
  const now = useNow(received !== null);
  return received === null
    ? seconds
    : seconds + Math.max(0, now - received) / 1000;
}
