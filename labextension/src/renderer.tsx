import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { IViewTools, ViewTools } from './context';
import { RUN_MIME_TYPE, RUN_VERSION } from './run/document';
import { isUnreadable, parseRun, Unreadable } from './run/parse';
import { RunView } from './run/run';

/** Shows a run document in a cell's output. */
export class RunRenderer extends ReactWidget implements IRenderMime.IRenderer {
  constructor(private readonly _tools: IViewTools) {
    super();
    this.addClass('kowalski-output-area');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._data = model.data[RUN_MIME_TYPE];
    // The first document may be an old one of a saved notebook; a second one is news.
    this._received = this._shown ? Date.now() : null;
    this._shown = true;
    if (this.isAttached) {
      this.update();
    }
    return Promise.resolve();
  }

  protected override render(): React.JSX.Element {
    const run = parseRun(this._data);
    return (
      <ViewTools.Provider value={this._tools}>
        {isUnreadable(run) ? (
          <p className="kowalski-unreadable">
            {explain(run, this._tools.trans)}
          </p>
        ) : (
          <RunView run={run} received={this._received} />
        )}
      </ViewTools.Provider>
    );
  }

  private _data: unknown;
  private _shown = false;
  private _received: number | null = null;
}

/** What to tell about a document that cannot be shown. */
function explain(problem: Unreadable, trans: TranslationBundle): string {
  switch (problem.kind) {
    case 'not-a-run':
      return trans.__(
        'This output says it is a Kowalski run, but its data cannot be read. Run the cell again to replace it.'
      );
    case 'unknown-version':
      return trans.__(
        'This run was saved in version %1 of the format; this extension reads version %2. Install the newest kowalski-jupyter and restart Jupyter to see it.',
        problem.version,
        RUN_VERSION
      );
  }
}
