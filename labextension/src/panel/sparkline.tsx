import React from 'react';

import { Trend } from '../server/devices';

const WIDTH = 120;
const HEIGHT = 20;

/** How something was lately, as a line; the label says the same in words. */
export function Sparkline(props: {
  label: string;
  trend: Trend;
  /** What is drawn at the top; by default the highest value. */
  top?: number;
}): React.JSX.Element | null {
  const { label, trend } = props;
  const known = trend.filter(value => value !== null);
  if (known.length < 2) {
    return null;
  }
  const top = Math.max(props.top ?? 0, ...known) || 1;
  return (
    <svg
      className="kowalski-sparkline"
      role="img"
      aria-label={label}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
    >
      <path d={outline(trend, top)} />
    </svg>
  );
}

/** A line through what is known, broken where nothing is. */
function outline(trend: Trend, top: number): string {
  const step = WIDTH / Math.max(1, trend.length - 1);
  let drawing = false;
  return trend
    .map((value, index) => {
      if (value === null) {
        drawing = false;
        return '';
      }
      const x = (index * step).toFixed(1);
      const y = (1 + (HEIGHT - 2) * (1 - value / top)).toFixed(1);
      const command = drawing ? 'L' : 'M';
      drawing = true;
      return `${command}${x} ${y}`;
    })
    .join('');
}
