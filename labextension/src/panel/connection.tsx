import React from 'react';

import { useTrans } from '../context';
import { StateMark } from '../mark';
import { Connection } from '../tokens';
import { Command } from './command';

/** Makes the server load its half of the extension. */
const ENABLE = 'jupyter server extension enable kowalski_jupyter';

/** Says when the panel's picture is missing or old, and what to do about it. */
export function ConnectionNote(props: {
  connection: Connection;
  hasStatus: boolean;
}): React.JSX.Element {
  const { connection, hasStatus } = props;
  const trans = useTrans();
  return (
    <div role="status" aria-live="polite">
      {connection === 'missing' && (
        <div className="kowalski-note">
          <p>
            <StateMark mark="bad" />
            {trans.__(
              'The server half of kowalski-jupyter is not loaded. Runs work without it, inside the notebook’s own kernel, but are not listed here.'
            )}
          </p>
          <p>{trans.__('To load it, run this and restart Jupyter:')}</p>
          <Command text={ENABLE} />
        </div>
      )}
      {connection === 'lost' && (
        <div className="kowalski-note">
          <p>
            <StateMark mark="bad" />
            {hasStatus
              ? trans.__(
                  'The connection to the Jupyter server is lost: this is the last picture. Trying again …'
                )
              : trans.__(
                  'The Jupyter server does not answer, or not as it should: its log says why. Trying again …'
                )}
          </p>
        </div>
      )}
      {connection === 'connecting' && !hasStatus && (
        <p className="kowalski-note">
          <StateMark mark="going" />
          {trans.__('Connecting …')}
        </p>
      )}
    </div>
  );
}
