import React from 'react';

import { StateMark } from '../mark';

/** Why something that the user wanted was not done. */
export function Problem({ text }: { text: string }): React.JSX.Element {
  return (
    <p className="kowalski-problem" role="alert">
      <StateMark mark="bad" />
      {text}
    </p>
  );
}
