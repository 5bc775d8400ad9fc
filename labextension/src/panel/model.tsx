import React from 'react';

import { useTrans } from '../context';
import { Mark, StateMark } from '../mark';
import { IModelStatus } from '../server/status';

const MARKS: Record<IModelStatus['state'], Mark> = {
  ready: 'good',
  loading: 'going',
  none: 'waiting'
};

/** The model in use and where it runs. */
export function Model(props: {
  model: IModelStatus | null;
}): React.JSX.Element {
  const { model } = props;
  const trans = useTrans();
  if (model === null) {
    return (
      <p className="kowalski-empty">
        {trans.__(
          'None asked for yet. The first run finds one: the server that KOWALSKI_URL names, exo or Ollama on this machine, or else the embedded model.'
        )}
      </p>
    );
  }
  const words: Record<IModelStatus['state'], string> = {
    ready: trans.__('Ready'),
    loading: trans.__('Loading'),
    none: trans.__('Not available')
  };
  return (
    <div className="kowalski-model">
      <div className="kowalski-model-name">{model.name}</div>
      <div className="kowalski-status">
        <span className="kowalski-state">
          <StateMark mark={MARKS[model.state]} />
          {words[model.state]}
        </span>
        <span>{model.where}</span>
      </div>
      {model.detail !== '' && <p className="kowalski-quiet">{model.detail}</p>}
    </div>
  );
}
