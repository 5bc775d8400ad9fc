import React from 'react';

/** Something to type, in full: it wraps where the panel is narrow. */
export function Command({ text }: { text: string }): React.JSX.Element {
  return <div className="kowalski-text kowalski-command">{text}</div>;
}
