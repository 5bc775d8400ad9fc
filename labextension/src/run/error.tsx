import React from 'react';

import { useTrans } from '../context';
import { StateMark } from '../mark';
import { TextBox } from '../text';

/** Why a run failed and what to do next. */
export function RunError({ text }: { text: string }): React.JSX.Element {
  const trans = useTrans();
  return (
    <div className="kowalski-error">
      <StateMark mark="bad" />
      <TextBox
        text={text}
        label={trans.__('Error')}
        className="kowalski-error-text"
      />
    </div>
  );
}
