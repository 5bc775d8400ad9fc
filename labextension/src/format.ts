import { TranslationBundle } from '@jupyterlab/translation';

const GIB = 1024 ** 3;

/** A duration in seconds as people say it: `40 ms`, `3.1 s`, `42 s`, `2 min 05 s`. */
export function formatSeconds(
  seconds: number,
  trans: TranslationBundle
): string {
  if (seconds < 0.095) {
    return trans.__('%1 ms', Math.round(seconds * 1000));
  }
  if (seconds < 9.95) {
    return trans.__('%1 s', seconds.toFixed(1));
  }
  const whole = Math.round(seconds);
  if (whole < 60) {
    return trans.__('%1 s', whole);
  }
  return trans.__(
    '%1 min %2 s',
    Math.floor(whole / 60),
    String(whole % 60).padStart(2, '0')
  );
}

export function formatCount(count: number): string {
  return count.toLocaleString();
}

/** Bytes in GB (powers of 1024, as memory is sold) with one decimal. */
export function formatGigabytes(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}

/** A share from 0 to 1 in whole percent. */
export function formatPercent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** The first line that says something, or an empty string. */
export function firstLine(text: string): string {
  return (
    text
      .split('\n')
      .find(line => line.trim() !== '')
      ?.trim() ?? ''
  );
}
