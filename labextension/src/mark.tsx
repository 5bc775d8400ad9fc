import React from 'react';

/** The small drawing that goes with the word for a state. */
export type Mark =
  | 'going'
  | 'waiting'
  | 'good'
  | 'bad'
  | 'stopped'
  | 'skipped'
  | 'folded'
  | 'warning'
  | 'remembered';

/** Outlines on a grid of 16 by 16. */
const PATHS: Record<Mark, string> = {
  going: 'M8 2a6 6 0 0 1 6 6',
  waiting: 'M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10',
  good: 'M3 8.5l3.5 3.5L13 4.5',
  bad: 'M4 4l8 8M12 4l-8 8',
  stopped: 'M4.5 4.5h7v7h-7z',
  skipped: 'M3.5 4l4.5 4l-4.5 4M8.5 4l4.5 4l-4.5 4',
  folded: 'M2.5 8h11M5 2l3 3l3-3M5 14l3-3l3 3',
  warning: 'M8 2.5L14 13.5H2zM8 6.5v3.5M8 12v.01',
  remembered: 'M3 3v4h4M3.5 7a5.3 5.3 0 1 1-.6 3.5'
};

/** A state's drawing; the word beside it is what assistive technology reads. */
export function StateMark({ mark }: { mark: Mark }): React.JSX.Element {
  return (
    <svg
      className="kowalski-mark"
      data-mark={mark}
      viewBox="0 0 16 16"
      aria-hidden="true"
    >
      {mark === 'going' && (
        <circle className="kowalski-mark-track" cx="8" cy="8" r="6" />
      )}
      <path d={PATHS[mark]} />
    </svg>
  );
}
