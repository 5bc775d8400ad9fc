import React from 'react';

/** A share, in words and as a bar. */
export function Meter(props: {
  name: string;
  /** 0 to 1. */
  share: number;
  words: string;
}): React.JSX.Element {
  const { name, share, words } = props;
  const percent = Math.round(share * 100);
  return (
    <div className="kowalski-meter">
      <span>{name}</span>
      <span>{words}</span>
      <div
        role="meter"
        aria-label={name}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent}
        aria-valuetext={words}
      >
        <div style={{ width: `${percent}%` }} />
      </div>
    </div>
  );
}
