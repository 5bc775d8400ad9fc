import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { IViewTools, useTrans, ViewTools } from './context';
import { StateMark } from './mark';

/** How many runs go on, as a button that shows them. */
export class StatusItem extends ReactWidget {
  constructor(
    private readonly _tools: IViewTools,
    private readonly _onClick: () => void
  ) {
    super();
    this.addClass('kowalski-status-item');
  }

  get going(): number {
    return this._going;
  }

  set going(going: number) {
    if (going !== this._going) {
      this._going = going;
      this.update();
    }
  }

  protected override render(): React.JSX.Element {
    return (
      <ViewTools.Provider value={this._tools}>
        <RunCount going={this._going} onClick={this._onClick} />
      </ViewTools.Provider>
    );
  }

  private _going = 0;
}

function RunCount(props: {
  going: number;
  onClick: () => void;
}): React.JSX.Element {
  const trans = useTrans();
  return (
    <button
      type="button"
      title={trans.__('Show Kowalski runs')}
      onClick={props.onClick}
    >
      <StateMark mark="going" />
      {trans._n('%1 run', '%1 runs', props.going)}
    </button>
  );
}
