import React from 'react';

import { useTrans } from '../context';
import { CopyButton } from '../copy';
import { Command } from './command';

/** How to go on with a run that has ended without its answer. */
export function Resume({ id }: { id: string }): React.JSX.Element {
  const trans = useTrans();
  const line = `%rlm resume ${id}`;
  return (
    <div className="kowalski-resume">
      <span className="kowalski-caption">
        {trans.__('To continue it, run this in a notebook that has its data:')}
      </span>
      <div className="kowalski-fields">
        <Command text={line} />
        <CopyButton text={line} />
      </div>
    </div>
  );
}
